"""Left-right asymmetry of a registered brain against the average one, a hint at swapped sides.

Human brains have an average asymmetry (right frontal and left occipital petalia, a larger left
planum temporale), while the template of the workflow is symmetric. A brain whose left and right
were swapped, in its header or in its voxels, has the opposite asymmetry. Individuals differ much,
so a negative value is a hint and no proof: docs/qc.md gives the error rate.
"""

import numpy as np

from ldae.preprocess._ants import ants
from ldae.preprocess.resampling import resample
from ldae.preprocess.sides import (
    LOWEST,
    SHAPE,
    SPACING,
    correlation_with_average,
    overlaps_map,
)


def symmetric_grid() -> ants.ANTsImage:
    """An empty image on the grid of both sides, in MNI space."""
    flip = np.diag([-1.0, -1.0, 1.0])  # RAS to ITK's LPS
    return ants.from_numpy(
        np.zeros(SHAPE, np.float32),
        origin=tuple(flip @ LOWEST),
        spacing=(SPACING,) * 3,
        direction=flip,
    )


def on_symmetric_grid(image: ants.ANTsImage) -> np.ndarray:
    """An image in MNI space, resampled to :func:`symmetric_grid`: (40, 50, 40)."""
    return resample(image, symmetric_grid(), [], "linear", True).numpy()


def asymmetry(brain: ants.ANTsImage, template_mask: ants.ANTsImage) -> float | None:
    """Correlation of a registered brain's asymmetry with the average one, -1 to 1.

    Positive as expected; negative: left and right may be swapped.

    Args:
        brain, template_mask: On the target grid.

    Returns:
        The correlation over the right side; 0 for a brain without any asymmetry; None if the
        template is not in MNI space, where the map lies.
    """
    if not overlaps_map(on_symmetric_grid(template_mask.clone("float")) >= 0.5):
        return None
    return correlation_with_average(on_symmetric_grid(brain))
