"""What runs a network: PyTorch or OpenVINO, and the choice between them.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads.
"""
