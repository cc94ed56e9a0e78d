"""A classifier for others: its model card, and its place on the Hugging Face hub.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier, photo_audit, labelling, transfer, pretraining, explain, review.
"""
