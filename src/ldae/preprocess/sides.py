"""Average asymmetry of human brains, and that of a volume against it, without ANTsPy.

The workflow measures it when a scan is registered (:mod:`ldae.preprocess.asymmetry`). The command
line measures it here on volumes that come registered, where to import ANTsPy would take longer than
to encode a scan; a test compares the two.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

# int8 (20, 50, 40), MNI space: right minus left of the average brain, about 127 at most; OUTSIDE
# of the brain. Its source and how it was made: benchmarks/asymmetry.py
MAP = Path(__file__).with_name("asymmetry.npz")
OUTSIDE = -128
SPACING = 4.0  # mm of the map
SHAPE = (40, 50, 40)  # of the grid of both sides, whose centre plane is x = 0
LOWEST = (-78.0, -114.0, -74.0)  # mm RAS, the grid's first voxel
BAND = (4.0, 16.0)  # mm, SD of two Gaussians: folds are smaller, coil fields and shears larger
BRIGHTEST = 1.6  # of the brain's median: vessels and fat are cut there
SAME_SPACE = 0.85  # Dice of the template's mask with the map's; less: another space
NOTHING = 1e-3  # of the largest value: what is below became 0 when the volume was sampled
FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in its SDs


@lru_cache(maxsize=1)
def average_asymmetry() -> tuple[np.ndarray, np.ndarray]:
    """The map (20, 50, 40), right minus left, and its mask (40, 50, 40) of both sides."""
    with np.load(MAP) as stored:
        average = stored["right_minus_left"]
    half = average != OUTSIDE
    return average.astype(np.float32), np.concatenate([half[::-1], half])


def on_both_sides(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A volume (X, Y, Z) sampled on the grid of both sides (40, 50, 40), blurred as for its voxels.

    Args:
        volume: Any grid.
        affine: (4, 4) of the volume: voxels to mm RAS.
    """
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    sigma = np.sqrt(np.clip(SPACING**2 - edges**2, 0, None)) / FWHM / edges
    grid = np.diag([SPACING, SPACING, SPACING, 1.0])
    grid[:3, 3] = LOWEST
    to_voxels = np.linalg.inv(affine) @ grid
    blurred = ndi.gaussian_filter(volume.astype(np.float32), sigma, mode="nearest")
    values = ndi.affine_transform(
        blurred, to_voxels[:3, :3], to_voxels[:3, 3], output_shape=SHAPE, order=1
    )
    return np.where(values < NOTHING * values.max(), 0, values)


def overlaps_map(mask: np.ndarray) -> bool:
    """Whether a brain mask (40, 50, 40) on the grid of both sides lies where the map's does."""
    _, inside = average_asymmetry()
    return 2 * (mask & inside).sum() >= SAME_SPACE * (mask.sum() + inside.sum())


def is_map_space(mask: np.ndarray, affine: np.ndarray) -> bool:
    """Whether a template's brain mask (X, Y, Z) lies where the map's does: in MNI space."""
    return overlaps_map(on_both_sides(mask, affine) >= 0.5)


def local_asymmetry(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Right minus left of a brain in MNI space, between the two scales of :data:`BAND`.

    Args:
        values: Intensities (40, 50, 40) on the grid of both sides.
        inside: Symmetric mask (40, 50, 40).

    Returns:
        The right side (20, 50, 40), in units of the brain's median; 0 outside the mask.
    """
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


def correlation_with_average(values: np.ndarray) -> float:
    """Correlation of a brain's asymmetry with the average one, -1 to 1; 0 without any asymmetry.

    Args:
        values: Intensities (40, 50, 40) of an extracted brain on the grid of both sides.
    """
    average, inside = average_asymmetry()
    right = inside[SHAPE[0] // 2 :]
    found = local_asymmetry(values, inside)[right]
    return float(np.corrcoef(found, average[right])[0, 1]) if np.ptp(found) else 0.0


def asymmetry_of(volume: np.ndarray, affine: np.ndarray) -> float:
    """As :func:`correlation_with_average`, of an extracted brain (X, Y, Z) on any grid.

    Args:
        volume: In MNI space.
        affine: (4, 4) of the volume: voxels to mm RAS.
    """
    return correlation_with_average(on_both_sides(volume, affine))
