"""Training a part of a network: schedule, losses, updates, checkpoints.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features.
"""
