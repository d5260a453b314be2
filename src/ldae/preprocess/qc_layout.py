"""Layout of the QC pictures: slices in columns, planes in rows; read without ANTsPy.

A scan's picture has six rows, the planes of its native head and of its registered brain; the
template's has three. They are drawn in :mod:`ldae.preprocess.qc_picture`.
"""

SLICES = 7  # of each plane, spread evenly over the mask
PLANES = ("axial", "coronal", "sagittal")
