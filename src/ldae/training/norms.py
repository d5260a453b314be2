"""Batch norms: which layers are of the kind, and where a network has them."""

from collections.abc import Iterable

from torch import nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def batch_norms(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """All batch norms inside the modules."""
    return [
        layer for module in modules for layer in module.modules() if isinstance(layer, BATCH_NORMS)
    ]
