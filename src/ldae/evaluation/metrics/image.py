"""Image quality of one volume against another: SSIM, MSE and LPIPS.

Volumes are (B, 1, X, Y, Z) in [0, 1]. Every function returns one value per volume, never a mean
over the batch, so that intervals can be computed over subjects.
"""

from pathlib import Path

import torch
from torch import Tensor

from ldae.ssim import ssim

BRAIN_LEVEL = 0.02  # of the [0, 1] range: above it a skull-stripped volume is brain
FAKE_3D_RATIO = 0.5  # of the slices of a plane (Table 2)
LPIPS_SLICES = 16
LPIPS_RANGE = (0.2, 0.8)  # of the axial extent


def brain_mask(volume: Tensor) -> Tensor:
    """Brain mask (bool) of skull-stripped volumes: voxels above 2 % of the range."""
    return volume > BRAIN_LEVEL


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


class Fake3dLpips:
    """LPIPS as in the authors' code: half of the slices of every plane, planes summed, in [0, 1].

    Their slices are drawn anew for every batch; here they are fixed, evenly spaced.

    Args:
        net, weights, device: As in :class:`SliceLpips`.

    Attributes:
        column: Name of the metric in tables, ``lpips_<net>_fake3d``.
    """

    def __init__(self, net: str, weights: str | Path, device: torch.device | str = "cpu"):
        from ldae.nets.perceptual import Fake3DPerceptual, Lpips

        self.column = f"lpips_{net}_fake3d"
        lpips = Lpips(net, weights).to(device).eval()
        self.net = Fake3DPerceptual(lpips, FAKE_3D_RATIO, scaled=False)

    @torch.inference_mode()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """LPIPS distance (B,) of each pair of volumes (B, 1, X, Y, Z) in [0, 1]."""
        pairs = zip(a.float().split(1), b.float().split(1), strict=True)
        return torch.stack([self.net(*pair) for pair in pairs])


LPIPS_PROTOCOLS = {"fixed_slices": SliceLpips, "fake_3d": Fake3dLpips}


class ImageMetrics:
    """SSIM, MSE and LPIPS of reconstructions.

    Args:
        lpips: ``{"net", "weights", "protocol"}`` of the config, or None for no LPIPS column.
        device: Device of LPIPS.
    """

    def __init__(self, lpips: dict | None, device: torch.device | str = "cpu"):
        self.lpips = None
        if lpips:
            measure = LPIPS_PROTOCOLS[lpips["protocol"]]
            self.lpips = measure(lpips["net"], lpips["weights"], device)

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
