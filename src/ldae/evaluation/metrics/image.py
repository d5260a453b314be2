"""Image quality of one volume against another: SSIM, MSE and LPIPS.

Volumes are (B, 1, X, Y, Z) in [0, 1]. Every function returns one value per volume, never a mean
over the batch, so that intervals can be computed over subjects.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 11  # voxels; sigma 1.5: skimage's and MONAI's standard Gaussian window
SIGMA_PER_VOXEL = 1.5 / 11
K1, K2 = 0.01, 0.03
BRAIN_LEVEL = 0.02  # of the [0, 1] range: above it a skull-stripped volume is brain
LPIPS_SLICES = 16
LPIPS_RANGE = (0.2, 0.8)  # of the axial extent


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
        for one_axis in kernels:
            x = functional.conv3d(x, one_axis)
        return x

    mean_a, mean_b = blur(a), blur(b)
    var_a = blur(a**2) - mean_a**2
    var_b = blur(b**2) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + K1**2) / (mean_a**2 + mean_b**2 + K1**2)
    return luminance * (2 * covariance + K2**2) / (var_a + var_b + K2**2)


def brain_mask(volume: Tensor) -> Tensor:
    """Brain mask (bool) of skull-stripped volumes: voxels above 2 % of the range."""
    return volume > BRAIN_LEVEL


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


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error over the whole volume: (B,)."""
    return ((a.float() - b.float()) ** 2).flatten(1).mean(1)


def compare(original: Tensor, decoded: Tensor, image: Tensor) -> dict[str, Tensor]:
    """Compare predicted volumes with scans and with the autoencoder's reconstructions of these.

    Args:
        original, decoded, image: Scans, reconstructions and predictions, (B, 1, X, Y, Z) each.

    Returns:
        (B,) each: ``ssim_to_ae`` and ``mse_to_ae`` with the reconstruction; ``ssim``,
        ``ssim_brain`` and ``mse`` with the scan.
    """
    brain = brain_mask(original)
    whole, within = ssim(original, image, brain)
    return {
        "ssim_to_ae": ssim(decoded, image, brain)[0],
        "mse_to_ae": mse(decoded, image),
        "ssim": whole,
        "ssim_brain": within,
        "mse": mse(original, image),
    }


class SliceLpips:
    """LPIPS averaged over fixed axial slices, with intensities mapped to [-1, 1].

    The same slices are taken in every volume: 16, evenly spaced over the middle 60 % of the axial
    extent (all slices there if they are fewer).

    Args:
        net: ``alex``, ``squeeze`` or ``vgg``.
        weights: File of the network's weights.
        device: Device of the network.

    Attributes:
        column: Name of the metric in tables, ``lpips_<net>``.

    Raises:
        UserError: the file of weights is missing.
    """

    def __init__(self, net: str, weights: str | Path, device: torch.device | str = "cpu"):
        from ldae.nets.perceptual import Lpips  # torchvision, which no other metric needs

        self.column = f"lpips_{net}"
        self.net = Lpips(net, weights).to(device).eval()

    @staticmethod
    def slices(depth: int) -> list[int]:
        """Axial indices of the compared slices in volumes of ``depth`` slices."""
        low, high = (fraction * (depth - 1) for fraction in LPIPS_RANGE)
        return sorted(set(torch.linspace(low, high, LPIPS_SLICES).round().int().tolist()))

    @torch.inference_mode()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """LPIPS distance (B,) of each pair of volumes (B, 1, X, Y, Z) in [0, 1]."""
        chosen = self.slices(a.shape[-1])
        planes = [
            volume[:, 0, :, :, chosen].permute(0, 3, 1, 2).flatten(0, 1)[:, None] * 2 - 1
            for volume in (a.float(), b.float())
        ]
        return self.net(*planes).reshape(len(a), len(chosen)).mean(1)


class ImageMetrics:
    """SSIM, MSE and LPIPS of reconstructions.

    Args:
        lpips: ``{"net", "weights"}`` of the config, or None for no LPIPS column.
        device: Device of LPIPS.
    """

    def __init__(self, lpips: dict | None, device: torch.device | str = "cpu"):
        self.lpips = SliceLpips(lpips["net"], lpips["weights"], device) if lpips else None

    @property
    def columns(self) -> list[str]:
        """Names of the values of :meth:`__call__`."""
        return ["ssim", "ssim_brain", "mse"] + ([self.lpips.column] if self.lpips else [])

    def __call__(self, original: Tensor, other: Tensor) -> dict[str, Tensor]:
        """Metrics by name, (B,) each, of ``other`` against ``original``, both (B, 1, X, Y, Z)."""
        whole, within = ssim(original, other, brain_mask(original))
        values = {"ssim": whole, "ssim_brain": within, "mse": mse(original, other)}
        if self.lpips:
            values[self.lpips.column] = self.lpips(original, other)
        return values
