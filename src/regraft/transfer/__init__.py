"""From photos and a pretrained network to a classifier: strategies, cross-validation, comparison, `fit`.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier, photo_audit, labelling.
"""
