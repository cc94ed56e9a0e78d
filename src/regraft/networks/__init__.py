"""Pretrained networks: names, weights, stages, cuts, what is frozen. The only folder that knows timm.

May import: the files beside this folder, evaluation, plots, storage, images, data.
"""
