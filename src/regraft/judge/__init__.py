"""Predictions and labels to numbers. numpy only: knows neither networks nor files."""
