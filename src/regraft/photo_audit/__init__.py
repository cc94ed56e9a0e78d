"""What can be known of photos before, and after, a classifier learns from them: findings, never deletions.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier.
"""
