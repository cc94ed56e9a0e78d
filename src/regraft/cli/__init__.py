"""The command line: parsing, printing, exit codes.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier, photo_audit, labelling, transfer, pretraining, explain, review, publishing,
exports, serve, api, cluster.
"""
