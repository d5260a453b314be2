"""Layout of the QC pictures: slices in columns, planes in rows; read without ANTsPy.

A scan's picture has six rows, the planes of its native head and of its registered brain; the
template's has three. They are drawn in :mod:`ldae.preprocess.qc_picture`.
"""

from PIL import Image

SLICES = 7  # of each plane, spread evenly over the mask
PLANES = ("axial", "coronal", "sagittal")


def overview(picture: Image.Image) -> Image.Image:
    """The middle slice of each plane, native above registered, of a scan's QC picture."""
    side = picture.width // SLICES
    small = Image.new("RGB", (len(PLANES) * side, 2 * side))
    for number in range(2 * len(PLANES)):
        row, column = divmod(number, len(PLANES))
        left, top = SLICES // 2 * side, number * side
        panel = picture.crop((left, top, left + side, top + side))
        small.paste(panel, (column * side, row * side))
    return small
