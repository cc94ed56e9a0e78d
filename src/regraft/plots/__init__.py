"""Drawing: charts as SVG and PNG, grids of images. Knows no photo.

May import: the files beside this folder, evaluation.
"""
