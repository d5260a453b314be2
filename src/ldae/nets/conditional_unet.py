"""Denoiser of the voxel-space DAE: a UNet that takes y_sem in every block (Eq. 5)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ldae.nets.blocks import timestep_embedding
from ldae.nets.execution import apply_execution_options
from ldae.nets.unet import DownPath, UNetShape, UpPath, time_embedding, unet_shape

CHANNELS = 1  # a scan has one


class ConditionalUNet(nn.Module):
    """eps_theta(x_t, t, y_sem): predicts the noise in a volume.

    The UNet of stage 2 with the AdaGN of the gradient estimator in all blocks, those of the down
    path included (Preechakul et al. 2022). Nothing is frozen here: the whole network can use y_sem.
    79,316,481 parameters with the values of config.yaml and y_sem of 768; with the encoder 132.9 M,
    where the paper says "130M".

    Args:
        shape: The UNet's numbers.
        y_dim: Length of y_sem.
    """

    def __init__(self, shape: UNetShape, y_dim: int):
        super().__init__()
        self.shape = shape
        self.time = time_embedding(shape)
        self.semantic = nn.Linear(y_dim, shape.embedding_dim)
        self.down = DownPath(shape, conditional=True)
        self.up = UpPath(shape, self.down.skip_channels, conditional=True)

    def forward(self, x_t: Tensor, t: Tensor, y_sem: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x_t: Noisy volumes (B, 1, X, Y, Z); sides divisible by 2^(levels - 1).
            t: Steps (B,), long.
            y_sem: Semantic codes (B, y_dim).

        Returns:
            eps (B, 1, X, Y, Z), in the dtype of ``x_t`` (also under autocast).
        """
        t_emb = self.time(timestep_embedding(t, self.shape.base_channels))
        y_emb = self.semantic(y_sem)
        return self.up(self.down(x_t, t_emb, y_emb), t_emb, y_emb).to(x_t.dtype)


def build_conditional_unet(cfg: Mapping[str, Any], y_dim: int) -> ConditionalUNet:
    """Build the UNet of the ``dae`` section of the config.

    Args:
        cfg: The section; optional keys ``checkpointing`` and ``compile``
            (:mod:`ldae.nets.execution`).
        y_dim: Length of y_sem (``SemanticEncoder.dim``).
    """
    return apply_execution_options(ConditionalUNet(unet_shape(cfg, CHANNELS), y_dim), cfg)
