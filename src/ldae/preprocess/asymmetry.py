"""Left-right asymmetry of a registered brain against the average one, a hint at swapped sides.

Human brains have an average asymmetry (right frontal and left occipital petalia, a larger left
planum temporale), while the template of the workflow is symmetric. A brain whose left and right
were swapped, in its header or in its voxels, has the opposite asymmetry. Individuals differ much,
so a negative value is a hint and no proof: docs/qc.md gives the error rate.
"""

import numpy as np
from scipy import ndimage as ndi

from ldae.preprocess._ants import ants
from ldae.preprocess.resampling import resample
from ldae.preprocess.sides import (
    BAND,
    BRIGHTEST,
    LOWEST,
    SAME_SPACE,
    SHAPE,
    SPACING,
    average_asymmetry,
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


def local_asymmetry(brain: ants.ANTsImage, inside: np.ndarray) -> np.ndarray:
    """Right minus left of a brain in MNI space, between the two scales of ``BAND``.

    Args:
        brain: Any grid.
        inside: Symmetric mask (40, 50, 40) on :func:`symmetric_grid`.

    Returns:
        The right side (20, 50, 40), in units of the brain's median; 0 outside the mask.
    """
    values = resample(brain, symmetric_grid(), [], "linear", True).numpy()
    positive = values[inside & (values > 0)]
    scale = float(np.median(positive)) if positive.size else 1.0
    values = np.minimum(values / scale, BRIGHTEST)
    difference = np.where(inside, values - values[::-1], 0)

    def smooth(sigma: float) -> np.ndarray:
        """Mean over the mask's voxels, weighted by a Gaussian."""
        weight = ndi.gaussian_filter(inside.astype(np.float32), sigma / SPACING)
        return ndi.gaussian_filter(difference, sigma / SPACING) / np.maximum(weight, 0.05)

    narrow, wide = (smooth(sigma) for sigma in BAND)
    return np.where(inside, narrow - wide, 0)[SHAPE[0] // 2 :]


def asymmetry(brain: ants.ANTsImage, template_mask: ants.ANTsImage) -> float | None:
    """Correlation of a registered brain's asymmetry with the average one, -1 to 1.

    Positive as expected; negative: left and right may be swapped.

    Args:
        brain, template_mask: On the target grid.

    Returns:
        The correlation over the right side; 0 for a brain without any asymmetry; None if the
        template is not in MNI space, where the map lies.
    """
    average, inside = average_asymmetry()
    mask = resample(template_mask.clone("float"), symmetric_grid(), [], "linear", True).numpy()
    mask = mask >= 0.5
    if 2 * (mask & inside).sum() < SAME_SPACE * (mask.sum() + inside.sum()):
        return None
    right = inside[SHAPE[0] // 2 :]
    found = local_asymmetry(brain, inside)[right]
    return float(np.corrcoef(found, average[right])[0, 1]) if np.ptp(found) else 0.0
