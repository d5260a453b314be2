"""Attention weights of the semantic encoder over the slices of a volume.

The encoder needs them to make y_sem, and drops them. They are read through hooks, so that the
encoder itself, and with it every training, stays as it is.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ldae.nets.semantic_encoder import SemanticEncoder


class SliceAttention(NamedTuple):
    """Attention weights of B volumes over their L slices; over the slices, each adds up to 1.

    Attributes:
        summary: (B, L), weights of the average that asks (section 3.4: Q).
        heads: (B, H, L), weights of every head of the attention that gives y_sem.
    """

    summary: Tensor
    heads: Tensor


@torch.no_grad()
def slice_attention(encoder: SemanticEncoder, x: Tensor) -> SliceAttention:
    """Attention weights of volumes (B, 1, X, Y, Z), without the dropout of a training.

    Args:
        encoder: In evaluation mode.
        x: Volumes as the encoder takes them.

    Raises:
        ValueError: the encoder is in training mode.
    """
    if encoder.training:
        raise ValueError("attention weights are read in evaluation mode; call eval() first")
    scores: list[Tensor] = []
    asked: list[tuple[Tensor, ...]] = []
    hooks = [
        encoder.soft_attention.register_forward_hook(lambda _, __, out: scores.append(out)),
        encoder.cross_attention.register_forward_pre_hook(lambda _, args: asked.append(args)),
    ]
    try:
        encoder(x)
    finally:
        for hook in hooks:
            hook.remove()
    heads = encoder.cross_attention(*asked[0], need_weights=True, average_attn_weights=False)[1]
    return SliceAttention(scores[0].softmax(dim=1).squeeze(2), heads.squeeze(2))
