"""Agreement of saliency maps with each other, and with where the known truth lies, scan by scan.

Maps are compared by their sizes, without signs, over the voxels of the brain, and at the scale of
structures: maps and truth are smoothed first, since a gradient differs from voxel to voxel.
"""

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata

TOP = 0.1  # fraction of the brain's voxels, those that change most, that a peak should hit
FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in units of its SD


def sizes(values: np.ndarray, brain: np.ndarray, fwhm: float, spacing: float) -> np.ndarray:
    """Sizes (N,) of a map (X, Y, Z) at the voxels of the brain, smoothed by a Gaussian.

    Args:
        values: The map; what lies outside the brain does not count.
        brain: (X, Y, Z) bool.
        fwhm: Full width of the Gaussian at half its height, mm; 0: not smoothed.
        spacing: Voxel size, mm.
    """
    inside = np.abs(values) * brain
    if fwhm:
        inside = ndimage.gaussian_filter(inside, fwhm / FWHM / spacing, mode="constant")
    return inside[brain]


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of the sizes (N,) of two maps; nan where one does not vary."""
    return _pearson(rankdata(first), rankdata(second))


def truth_scores(attribution: np.ndarray, change: np.ndarray) -> dict[str, float]:
    """How a map lies to the true change between the two diagnoses.

    Args:
        attribution, change: Sizes (N,) at the voxels of the brain.

    Returns:
        ``truth_correlation``: Pearson's correlation. ``pointing``: whether the map's peak lies
        among the tenth of the voxels that change most (the pointing game of Zhang et al. 2018; 0.1
        by chance). Where several voxels share the peak, their share that does. Both are nan where
        the map or the change does not vary.
    """
    correlation = _pearson(attribution, change)
    if np.isnan(correlation):
        return {"truth_correlation": np.nan, "pointing": np.nan}
    most = change >= np.quantile(change, 1 - TOP)
    peak = attribution == attribution.max()
    return {"truth_correlation": correlation, "pointing": float(most[peak].mean())}


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    first, second = (one - one.mean(dtype=np.float64) for one in (first, second))
    spread = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / spread) if spread > 0 else np.nan
