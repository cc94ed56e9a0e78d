"""Where photos lie: paths of this machine, and addresses in stores. Knows no image.

May import: the files beside this folder, evaluation, plots.
"""
