"""A finished classifier by itself: what it is, its file, its answers. Imports nothing that trains.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training.
"""
