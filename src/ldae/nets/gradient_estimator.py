"""Gradient estimator G(z_t, y_sem, t) on top of a frozen UNet (paper section 3.5)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ldae.nets.unet import UNet, UNetShape, UpPath, unet_shape


class GradientEstimator(nn.Module):
    """New middle, up path and output, with AdaGN of the time code and of y_sem.

    Its output convolution starts at zero, so G = 0 and the guided model begins as the
    unconditional one. 378,411,779 parameters in the paper's configuration (y_sem of 768).

    Args:
        shape: The numbers of the UNet it is attached to.
        skip_channels: Channels of that UNet's down path.
        y_dim: Length of y_sem.
    """

    def __init__(self, shape: UNetShape, skip_channels: Sequence[int], y_dim: int):
        super().__init__()
        self.semantic = nn.Linear(y_dim, shape.embedding_dim)
        self.up = UpPath(shape, skip_channels, conditional=True)

    def forward(self, features: Sequence[Tensor], t_emb: Tensor, y_sem: Tensor) -> Tensor:
        """Map the UNet's features, its time code (B, E) and y_sem (B, y_dim) to G."""
        # In float32 also under autocast, as the encoder's last steps: bfloat16 would round away
        # the differences between scans.
        with torch.autocast(y_sem.device.type, enabled=False):
            code = self.semantic(y_sem.float())
        return self.up(features, t_emb, code)


class FrozenEstimate(NamedTuple):
    """What the frozen UNet gives at one z_t: the same for every y_sem.

    Attributes:
        features: Features of the down path, finest first.
        t_emb: Time code (B, E).
        eps: Unconditional noise estimate, shaped like z_t.
    """

    features: list[Tensor]
    t_emb: Tensor
    eps: Tensor


class GuidedUNet(nn.Module):
    """eps_theta and G in one call: the frozen down path and time code are computed once.

    The UNet never trains: it stays in evaluation mode whatever :meth:`train` is called with, its
    parameters take no gradient, and its computations record no graph.

    Args:
        unet: The trained denoiser; its parameters are frozen in place.
        estimator: The gradient estimator made for it.
    """

    def __init__(self, unet: UNet, estimator: GradientEstimator):
        super().__init__()
        self.unet = unet.requires_grad_(False)
        self.estimator = estimator
        self.train(self.training)

    def train(self, mode: bool = True) -> "GuidedUNet":
        """Switch the estimator; the UNet stays in evaluation mode."""
        super().train(mode)
        self.unet.eval()
        return self

    def forward(self, z_t: Tensor, t: Tensor, y_sem: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate the unconditional noise and the semantic gradient.

        Args:
            z_t: Noisy latents (B, C, X, Y, Z).
            t: Steps (B,), long.
            y_sem: Semantic codes (B, y_dim).

        Returns:
            (eps, g), both shaped like ``z_t`` and in its dtype; combine them with
            :meth:`ldae.diffusion.schedule.Schedule.guided_eps`.
        """
        eps, (g,) = self.estimates(z_t, t, y_sem)
        return eps, g

    def estimates(self, z_t: Tensor, t: Tensor, *codes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As :meth:`forward` for several y_sem: eps, and G of each. The frozen part runs once."""
        frozen = self.frozen(z_t, t)
        return frozen.eps, [self.shift(frozen, t, y_sem) for y_sem in codes]

    def frozen(self, z_t: Tensor, t: Tensor) -> FrozenEstimate:
        """The part that no y_sem changes; it records no graph."""
        with torch.no_grad():
            features, t_emb = self.unet.encode(z_t, t)
            return FrozenEstimate(features, t_emb, self.unet.decode(features, t_emb, z_t, t))

    def shift(self, frozen: FrozenEstimate, t: Tensor, y_sem: Tensor) -> Tensor:
        """G for y_sem (B, y_dim), shaped like eps and in its dtype."""
        g = self.estimator(frozen.features, frozen.t_emb, y_sem).to(frozen.eps.dtype)
        known = self.unet.preconditioning
        return g if known is None else known.gradient(g, t)


def build_guided_unet(unet: UNet, ldm_cfg: Mapping[str, Any], y_dim: int) -> GuidedUNet:
    """Attach a new gradient estimator to ``unet``.

    Args:
        unet: The trained denoiser.
        ldm_cfg: The ``ldm`` section of the config; G has the UNet's architecture (Table 4).
        y_dim: Length of y_sem (``SemanticEncoder.dim``).

    Raises:
        ValueError: ``ldm_cfg`` is not the architecture of ``unet``.
    """
    shape = unet_shape(ldm_cfg, unet.shape.in_channels)
    if shape != unet.shape:
        raise ValueError(f"the estimator's architecture {shape} is not the UNet's {unet.shape}")
    return GuidedUNet(unet, GradientEstimator(shape, unet.down.skip_channels, y_dim))
