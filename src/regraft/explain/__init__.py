"""The report: units and what excites them, where a network looks, how far it carries.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines,
attribution, features, training, classifier, photo_audit, labelling, transfer, pretraining.
"""
