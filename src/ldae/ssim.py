"""Structural similarity (SSIM) of volumes, by which weights are selected and tables are made.

Volumes are (B, 1, X, Y, Z) in [0, 1]. Every function returns one value for each volume.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 11  # voxels; sigma 1.5: skimage's and MONAI's standard Gaussian window
SIGMA_PER_VOXEL = 1.5 / 11
K1, K2 = 0.01, 0.03


def ssim_window(shape: Sequence[int]) -> int:
    """Side of the SSIM window in voxels: 11, or less for small volumes.

    A window must not span more than half of the smallest side, so below 22 voxels it shrinks
    (odd, at least 3; sigma shrinks with it). Tables state it in the column ``ssim_window``.
    """
    widest = min(shape) // 2
    return max(3, min(WINDOW, widest if widest % 2 else widest - 1))


@cache
def _gaussian(window: int) -> Tensor:
    offset = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    weight = torch.exp(-0.5 * (offset / (SIGMA_PER_VOXEL * window)) ** 2)
    return weight / weight.sum()


def ssim_map(a: Tensor, b: Tensor, window: int | None = None) -> Tensor:
    """Local SSIM with data range 1 around every voxel.

    Args:
        a, b: (B, 1, X, Y, Z) in [0, 1].
        window: Side of the Gaussian window, voxels; None for :func:`ssim_window`. The authors' code
            uses 3 to 4.

    Returns:
        (B, 1, X, Y, Z). Volumes are padded by repeating their border voxels. Where the window lies
        inside the volume, the map equals skimage's.

    Raises:
        ValueError: the window is larger than the volume.
    """
    window = ssim_window(a.shape[2:]) if window is None else window
    if window > min(a.shape[2:]):
        raise ValueError(f"an SSIM window of {window} does not fit volumes of {tuple(a.shape[2:])}")
    kernel = _gaussian(window).to(a.device, torch.float32)
    kernels = [
        kernel.view(1, 1, -1, 1, 1),
        kernel.view(1, 1, 1, -1, 1),
        kernel.view(1, 1, 1, 1, -1),
    ]
    border = ((window - 1) // 2, window // 2) * 3
    a, b = (functional.pad(x.float(), border, mode="replicate") for x in (a, b))

    def blur(x: Tensor) -> Tensor:
        # The variances below are small differences: TF32 would change the third digit.
        steady = torch.backends.cudnn.deterministic
        with torch.backends.cudnn.flags(enabled=True, deterministic=steady, allow_tf32=False):
            for one_axis in kernels:
                x = functional.conv3d(x, one_axis)
        return x

    mean_a, mean_b = blur(a), blur(b)
    var_a = blur(a**2) - mean_a**2
    var_b = blur(b**2) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + K1**2) / (mean_a**2 + mean_b**2 + K1**2)
    return luminance * (2 * covariance + K2**2) / (var_a + var_b + K2**2)


def ssim(a: Tensor, b: Tensor, brain: Tensor, window: int | None = None) -> tuple[Tensor, Tensor]:
    """SSIM of the whole volume, and within the brain (the flat background inflates the former).

    Args:
        a, b: (B, 1, X, Y, Z) in [0, 1].
        brain: (B, 1, X, Y, Z) bool, brain of the original.
        window: As in :func:`ssim_map`.

    Returns:
        Two (B,) tensors. The first is the mean of :func:`ssim_map` over the voxels whose window
        lies inside the volume, as in skimage and MONAI. The second is its mean over the brain.
    """
    window = ssim_window(a.shape[2:]) if window is None else window
    local = ssim_map(a, b, window)
    low, high = (window - 1) // 2, window // 2
    inside = (..., *(slice(low, size - high) for size in a.shape[2:]))
    within = (local * brain).flatten(1).sum(1) / brain.flatten(1).sum(1)
    return local[inside].flatten(1).mean(1), within
