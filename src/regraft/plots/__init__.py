"""Drawing: SVG for a page, grids of images, a learning curve as PNG. Knows no photo.

May import: the files beside this folder, evaluation.
"""
