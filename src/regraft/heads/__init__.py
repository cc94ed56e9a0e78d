"""Last layers on feature matrices, and the choice of their strength. Knows no network.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks.
"""
