"""A whole network learns a large labelled source, with or without a teacher.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier, photo_audit, labelling, transfer.
"""
