"""What to label next: photos that teach a classifier most, and groups of photos without any label.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier, photo_audit.
"""
