"""LPIPS distance from staged weights: 2-D, and as a fake-3-D loss (Zhang et al. 2018; Table 2).

MONAI's PerceptualLoss is not used. It downloads its network when it is built, which compute nodes
cannot do, and it feeds images in [0, 1] to networks made for [-1, 1].
"""

import warnings
from pathlib import Path

import ldae.nets._torchvision  # noqa: F401

# isort: split
import lpips
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldae.errors import UserError
from ldae.nets.pretrained import load_strictly, load_weights

NETS = ("alex", "squeeze", "vgg")
# Images with a shorter side than this leave no feature map in the deepest layers.
MIN_SIDE = 35


class Lpips(nn.Module):
    """LPIPS distance of 2-D images, its weights frozen.

    Args:
        net: ``alex``, ``squeeze`` or ``vgg``; results of different nets cannot be compared.
        weights_path: safetensors with the keys of ``lpips.LPIPS(net=net).state_dict()``.

    Raises:
        UserError: the net is unknown, or the weights are missing or do not fit.
    """

    def __init__(self, net: str, weights_path: str | Path):
        super().__init__()
        if net not in NETS:
            raise UserError(f"The LPIPS net is one of {', '.join(NETS)}, not {net}.")
        self.net_name = net
        state = load_weights(
            weights_path, f"LPIPS ({net})", "Run the target `resources`, or stage the file there."
        )
        # On the meta device, so that no classifier is initialised only to be overwritten.
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")  # torchvision's deprecation of `pretrained`
            self.lpips = lpips.LPIPS(pretrained=False, net=net, pnet_rand=True, verbose=False)
        load_strictly(self.lpips, state, str(weights_path), assign=True)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Lpips":
        """Stay in evaluation mode: the linear heads hold a dropout."""
        return super().train(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare images.

        Args:
            a: Images (B, 1 or 3, H, W) in [-1, 1]; grey ones are repeated to RGB.
            b: Images, shaped like ``a``.

        Returns:
            Distances (B,). Images with a side below 35 px are enlarged bilinearly first.
        """
        return self.lpips(self._prepare(a), self._prepare(b)).flatten()

    @staticmethod
    def _prepare(x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        scale = MIN_SIDE / min(height, width)
        if scale > 1:
            size = (round(height * scale), round(width * scale))
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


class Fake3DPerceptual(nn.Module):
    """LPIPS of volumes: the mean over slices of each plane, summed over the three planes.

    Args:
        lpips: The 2-D distance.
        ratio: Fraction of the slices of every plane to compare (Table 2: 0.5).
        scaled: Whether intensities are mapped from [0, 1] to [-1, 1], which the networks are made
            for; False: they are taken as they are, as in the authors' code.

    Raises:
        ValueError: the ratio is not within (0, 1].
    """

    def __init__(self, lpips: Lpips, ratio: float, scaled: bool = True):
        super().__init__()
        if not 0 < ratio <= 1:
            raise ValueError(f"fake_3d_ratio must be within (0, 1], got {ratio}")
        self.lpips, self.ratio, self.scaled = lpips, ratio, scaled

    def forward(self, a: Tensor, b: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Compare volumes.

        Args:
            a: Volumes (B, 1, X, Y, Z) in [0, 1].
            b: Volumes, shaped like ``a``.
            generator: A CPU generator that draws the slices; None takes evenly spaced ones.

        Returns:
            The distance, a scalar.
        """
        total = a.new_zeros(())
        for axis in (2, 3, 4):
            index = self.slices(a.shape[axis], generator).to(a.device)
            total = total + self.lpips(*(self._planes(x, axis, index) for x in (a, b))).mean()
        return total

    def slices(self, length: int, generator: torch.Generator | None = None) -> Tensor:
        """Choose the slices of one plane: indices (max(1, round(ratio * length)),)."""
        count = max(1, round(self.ratio * length))
        if generator is not None:
            return torch.randperm(length, generator=generator)[:count]
        return ((torch.arange(count, dtype=torch.float64) + 0.5) * length / count).long()

    def _planes(self, x: Tensor, axis: int, index: Tensor) -> Tensor:
        """Take slices along ``axis`` as images (B * count, 1, H, W), in [-1, 1] if scaled."""
        images = x.index_select(axis, index).movedim(axis, 1).flatten(0, 1)
        return 2 * images - 1 if self.scaled else images
