"""Labelled photos on disk to `Samples`, and to a `Dataset`. Knows no network.

May import: the files beside this folder, evaluation, plots, storage, images.
"""
