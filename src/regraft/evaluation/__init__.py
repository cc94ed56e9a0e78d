"""Predictions and labels to figures with their intervals; numpy and scipy only, and msgspec to read a report back.

May import: the files beside this folder.
"""
