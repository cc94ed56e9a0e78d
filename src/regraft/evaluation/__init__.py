"""Predictions and labels to figures with their intervals; numpy and scipy only.

May import: the files beside this folder.
"""
