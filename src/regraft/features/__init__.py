"""What a network makes of photos, computed once: pooled features, activations at a cut, and their cache.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution.
"""
