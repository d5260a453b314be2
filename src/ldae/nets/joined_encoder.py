"""Semantic encoder of two branches: slices through a 2-D network, and components of the volume."""

import torch
from torch import Tensor, nn

from ldae.nets.components import VolumeComponents


class JoinedEncoder(nn.Module):
    """Semantic encoder x_0 -> y_sem with the components of the volume at the end of the code.

    Args:
        slices: The paper's :class:`ldae.nets.semantic_encoder.SemanticEncoder`, whose code comes
            first; None: there is none.
        components: The linear branch.

    Attributes:
        dim: Length d of y_sem.
        standardize: Batch norm of the slices' code, or an identity. The components need none.
    """

    def __init__(self, slices: nn.Module | None, components: VolumeComponents):
        super().__init__()
        self.slices, self.components = slices, components
        self.dim: int = components.dim + (slices.dim if slices is not None else 0)

    @property
    def standardize(self) -> nn.Module:
        """See the class."""
        return nn.Identity() if self.slices is None else self.slices.standardize

    def forward(self, x: Tensor) -> Tensor:
        """Encode volumes (B, 1, X, Y, Z) in [0, 1], axes in RAS+ order: y_sem (B, d), float32."""
        components = self.components(x)
        if self.slices is None:
            return components
        return torch.cat([self.slices(x).float(), components], dim=1)
