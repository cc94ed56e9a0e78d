"""Jobs on a cluster: with a driver that holds no photo and no vector, for any number of them, and training together.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier, photo_audit, labelling, transfer, pretraining, explain, review, publishing,
exports, serve, api.
"""
