"""What excites a unit and where a network looks: modules and tensors in, tensors out. Knows no photo.

May import: the files beside this folder, evaluation, plots, storage, images, data, networks, heads, engines.
"""
