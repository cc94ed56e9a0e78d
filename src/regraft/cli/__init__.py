"""The command line: parsing, printing, exit codes.

May import: the files beside this folder, evaluation, plots, data, networks, heads, engines, attribution, features,
training, classifier, transfer, pretraining, explain.
"""
