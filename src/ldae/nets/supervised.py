"""The supervised baseline of Table 7: the semantic encoder and one linear layer."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ldae.nets.execution import prepare
from ldae.nets.semantic_encoder import SemanticEncoder, build_encoder


class SupervisedEncoder(nn.Module):
    """x_0 -> y_sem -> numbers to predict, trained end to end.

    Args:
        encoder: The semantic encoder, as in the unsupervised systems.
        outputs: Numbers to predict: one a class, or one.
    """

    def __init__(self, encoder: SemanticEncoder, outputs: int):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map volumes (B, 1, X, Y, Z) in [0, 1] to (B, outputs), float32."""
        return self.head(self.encoder(x)).float()


def build_supervised(cfg: Mapping[str, Any], outputs: int) -> SupervisedEncoder:
    """Build it from the section ``supervised`` with its ``encoder``."""
    return prepare(SupervisedEncoder(build_encoder(cfg["encoder"]), outputs), cfg)
