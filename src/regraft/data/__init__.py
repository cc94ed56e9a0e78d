"""Images on disk to samples, and samples to batches of pixels. Knows no network.

May import: the files beside this folder, evaluation, plots.
"""
