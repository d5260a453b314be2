"""Building blocks of the 3-D UNet: AdaGN residual block, self-attention, resampling, time code.

The design is that of ADM (Dhariwal and Nichol 2021) carried to three dimensions, with the second
condition of PDAE (Zhang et al. 2022; paper section 3.5).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldae.nets.normalisation import GroupNorm, GroupNormSiLU

Resample = Literal["isotropic", "inner_axes"]
FACTORS: dict[str, tuple[int, int, int]] = {"isotropic": (2, 2, 2), "inner_axes": (1, 2, 2)}


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Encode steps (B,) as sinusoids (B, dim): cosines, then sines, of falling frequencies."""
    half = dim // 2
    frequencies = torch.exp(
        -math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half
    )
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zero_init(module: nn.Module) -> nn.Module:
    """Set all parameters of ``module`` to zero and return it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def average_pool(x: Tensor, factor: tuple[int, int, int]) -> Tensor:
    """Average non-overlapping blocks of ``factor`` voxels of (B, C, X, Y, Z).

    Written as a mean over a view, because AvgPool3d has no deterministic backward on CUDA. A
    channels-last volume stays so.
    """
    if _is_channels_last(x):
        return _block_means(x.movedim(1, -1), factor, 1).movedim(-1, 1)
    return _block_means(x, factor, 2)


def repeat_voxels(x: Tensor, factor: tuple[int, int, int]) -> Tensor:
    """Upsample (B, C, X, Y, Z) by nearest neighbour: the inverse layout of :func:`average_pool`.

    A channels-last volume stays so.
    """
    if _is_channels_last(x):
        return _repeated_blocks(x.movedim(1, -1), factor, 1).movedim(-1, 1)
    return _repeated_blocks(x, factor, 2)


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()


def _block_means(x: Tensor, factor: tuple[int, int, int], axis: int) -> Tensor:
    """Means over blocks along three axes from ``axis`` on."""
    sides = zip(x.shape[axis : axis + 3], factor, strict=True)
    blocks = [n for side, f in sides for n in (side // f, f)]
    view = x.reshape(*x.shape[:axis], *blocks, *x.shape[axis + 3 :])
    return view.mean(dim=(axis + 1, axis + 3, axis + 5))


def _repeated_blocks(x: Tensor, factor: tuple[int, int, int], axis: int) -> Tensor:
    """Repeat along three axes from ``axis`` on; the result is contiguous."""
    before, sides, after = x.shape[:axis], x.shape[axis : axis + 3], x.shape[axis + 3 :]
    for place in (3, 2, 1):
        x = x.unsqueeze(axis + place)
    pairs = list(zip(sides, factor, strict=True))
    grown = x.expand(*before, *[n for pair in pairs for n in pair], *after)
    return grown.reshape(*before, *[side * f for side, f in pairs], *after)


class ResBlock(nn.Module):
    """Residual block with adaptive group normalisation and optional resampling.

        h = conv(SiLU(GN(x)))                                      resampled before the convolution
        h = (1 + s_y) [(1 + s_t) GN(h) + b_t] + b_y                section 3.5, with the usual 1 +
        out = skip(x) + conv_0(dropout(SiLU(h)))                   conv_0 starts at zero

    Args:
        in_channels: Channels of x.
        out_channels: Channels of the result.
        embedding_dim: Length of the time code (and of the embedded y_sem).
        dropout: Probability.
        groups: Groups of the group normalisations.
        conditional: Whether the block takes y_sem as well.
        factor: Resampling factor by axis; None keeps the size.
        up: Whether to upsample; otherwise downsample.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_dim: int,
        dropout: float,
        groups: int,
        conditional: bool = False,
        factor: tuple[int, int, int] | None = None,
        up: bool = False,
    ):
        super().__init__()
        self.factor, self.up = factor, up
        self.norm_in = GroupNormSiLU(groups, in_channels)
        self.conv_in = nn.Conv3d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(embedding_dim, 2 * out_channels)
        self.semantic = nn.Linear(embedding_dim, 2 * out_channels) if conditional else None
        self.norm_out = GroupNormSiLU(groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero_init(nn.Conv3d(out_channels, out_channels, 3, padding=1))
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv3d(in_channels, out_channels, 1)

    def _resample(self, x: Tensor) -> Tensor:
        if self.factor is None:
            return x
        return repeat_voxels(x, self.factor) if self.up else average_pool(x, self.factor)

    def forward(self, x: Tensor, t_emb: Tensor, y_emb: Tensor | None = None) -> Tensor:
        """Map x (B, C, X, Y, Z), t_emb (B, E) and y_emb (B, E) to (B, C', X', Y', Z')."""
        h = self.conv_in(self._resample(self.norm_in(x)))
        scale, shift = self.time(F.silu(t_emb)).chunk(2, dim=1)
        scale = 1 + scale
        if self.semantic is not None:
            y_scale, y_shift = self.semantic(F.silu(y_emb)).chunk(2, dim=1)
            # Both affine maps folded into one: a single pass over the voxels.
            scale, shift = (1 + y_scale) * scale, (1 + y_scale) * shift + y_shift
        h = self.conv_out(self.dropout(self.norm_out(h, scale, shift)))
        return self.skip(self._resample(x)) + h


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over all voxels; its projection starts at zero."""

    def __init__(self, channels: int, num_heads: int, groups: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm = GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, X, Y, Z) to the same shape."""
        tokens = self.norm(x).flatten(2)  # (B, C, N)
        qkv = self.qkv(tokens).unflatten(1, (3, self.num_heads, -1))  # (B, 3, heads, C/heads, N)
        q, k, v = qkv.transpose(3, 4).unbind(1)  # each (B, heads, N, C/heads)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2)
        return x + self.out(attended).reshape(x.shape)


class Stage(nn.Module):
    """A residual block, followed by attention where the level has it."""

    def __init__(self, block: ResBlock, attention: SelfAttention | None = None):
        super().__init__()
        self.block, self.attention = block, attention

    def forward(
        self, x: Tensor, t_emb: Tensor, y_emb: Tensor | None = None, skip: Tensor | None = None
    ) -> Tensor:
        """As :meth:`ResBlock.forward`; the channels of ``skip`` follow those of ``x``.

        They are joined here, so that a recomputed stage keeps no copy of both.
        """
        h = self.block(x if skip is None else torch.cat([x, skip], dim=1), t_emb, y_emb)
        return h if self.attention is None else self.attention(h)
