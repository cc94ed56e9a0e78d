"""People look at photos and say what they are: what they decided, what they see first, what it changes.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier, photo_audit, labelling, transfer, pretraining, explain.
"""
