"""Field of view: the part of an image that holds the head, where the image is much larger.

Neck protocols and padded images have fields of 350 to 500 mm. Brain extraction networks scale the
whole image to their input, in which such a head is too small: deepbet's mask of a head in 435 mm of
air has two litres too many.
"""

import cc3d
import nibabel as nib
import numpy as np
from scipy import ndimage as ndi

from ldae.preprocess._ants import ants
from ldae.preprocess.image_io import affine

MAX_FIELD = 300.0  # mm; no side of a head without neck is longer than 280
TALLEST = 260.0  # mm from the top of a head; what lies lower is neck and shoulders
MARGIN = 10.0  # mm about the head
FOREGROUND = 0.1  # of the 99th percentile of the voxels that are not zero: above air, below skin

Box = tuple[slice, slice, slice]


def head_box(head: ants.ANTsImage) -> Box | None:
    """The part (X, Y, Z) of an image with the head; None where no side exceeds ``MAX_FIELD``.

    The head is the largest connected part above the air; of a taller one, its upper ``TALLEST``.
    """
    edges = np.asarray(head.spacing)
    if (edges * head.shape).max() <= MAX_FIELD:
        return None
    values = head.numpy()
    filled = values[values > 0]
    if not filled.size:
        return None
    found = cc3d.largest_k(values > FOREGROUND * np.percentile(filled, 99), k=1) > 0
    ends = [[side.start, side.stop] for side in ndi.find_objects(found.astype(np.uint8))[0]]
    up, sign = _upwards(head)
    tallest = int(TALLEST / edges[up])
    if sign > 0:
        ends[up][0] = max(ends[up][0], ends[up][1] - tallest)
    else:
        ends[up][1] = min(ends[up][1], ends[up][0] + tallest)
    return tuple(
        slice(max(0, low - round(MARGIN / edge)), min(size, high + round(MARGIN / edge)))
        for (low, high), edge, size in zip(ends, edges, head.shape, strict=True)
    )


def _upwards(head: ants.ANTsImage) -> tuple[int, int]:
    """The voxel axis nearest to the body's long axis, and 1 if it runs upwards, else -1."""
    orientation = nib.io_orientation(affine(head))  # (3, 2): world axis and sign of each voxel axis
    axis = int(np.flatnonzero(orientation[:, 0] == 2)[0])
    return axis, int(orientation[axis, 1])


def crop(head: ants.ANTsImage, box: Box) -> ants.ANTsImage:
    """The part ``box`` of an image, in its place in space."""
    return ants.crop_indices(head, [side.start for side in box], [side.stop for side in box])
