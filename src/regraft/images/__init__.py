"""One image, from its source to pixels: formats, decoding, views, batches. Knows no label and no network.

May import: the files beside this folder, evaluation, plots, storage.
"""
