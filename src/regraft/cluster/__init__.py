"""Training by the workers of a Ray cluster: what they do together, and how its result and progress come back.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier, photo_audit, labelling, transfer, pretraining, explain, review, publishing,
exports, serve, api.
"""
