"""Group normalisation with SiLU that keeps the type of mixed precision on a GPU.

CUDA's autocast computes group_norm in float32: the volume is copied to float32, and the results of
the normalisation and of SiLU are kept in float32 for the backward pass, ten bytes a voxel beside
the four of a bfloat16 input and output. PyTorch's kernel also undoes the channels-last layout.
Here the volume stays in bfloat16 (or float16) and in its layout, the statistics are float32, and
the backward pass computes the normalised values again from the input. In float32, and on CPUs, the
plain operators of PyTorch are called: their results are the same bit for bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUCED = (torch.bfloat16, torch.float16)
_cpu_as_gpu = False


@contextmanager
def cpu_as_gpu() -> Iterator[None]:
    """Within the context CPUs take the kernels of GPUs: for the model of memory, and for tests."""
    global _cpu_as_gpu
    before, _cpu_as_gpu = _cpu_as_gpu, True
    try:
        yield
    finally:
        _cpu_as_gpu = before


def keeps_reduced(x: Tensor) -> bool:
    """Whether a volume is in reduced precision on a GPU, so that it stays in it."""
    return x.dtype in REDUCED and (x.is_cuda or _cpu_as_gpu)


def channels_last(x: Tensor) -> Tensor:
    """A volume in reduced precision on a GPU, laid out channels last; others as they are.

    A convolution of a single channel, whose layout is ambiguous, leaves its result channels first,
    and every residual sum after it would follow.
    """
    return x.contiguous(memory_format=torch.channels_last_3d) if keeps_reduced(x) else x


class GroupNorm(nn.GroupNorm):
    """Group normalisation, with an optional affine map for each item (AdaGN).

    The parameters and the state dict are those of :class:`torch.nn.GroupNorm`.
    """

    silu = False

    def forward(
        self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """Normalise x (B, C, ...); then ``scale`` times that plus ``shift``, (B, C) each.

        Returns:
            Shaped like x, in its type and layout.
        """
        if keeps_reduced(x):
            # Autograd functions take no keywords; autocast would cast inside of it.
            with torch.autocast(x.device.type, enabled=False):
                return _ReducedGroupNorm.apply(
                    x, self.weight, self.bias, scale, shift, self.num_groups, self.eps, self.silu
                )
        h = super().forward(x)
        if scale is not None:
            h = h * _voxelwise(scale, x) + _voxelwise(shift, x)
        return F.silu(h) if self.silu else h


class GroupNormSiLU(GroupNorm):
    """Group normalisation, an optional affine map for each item, and SiLU."""

    silu = True


def _voxelwise(each: Tensor, x: Tensor) -> Tensor:
    """(B, C) or (1, C) shaped to broadcast against x (B, C, ...)."""
    return each.reshape(*each.shape, *[1] * (x.ndim - 2))


class _ReducedGroupNorm(torch.autograd.Function):
    """GroupNorm, affine map and SiLU of a bfloat16 or float16 volume, computed in float32.

    For given statistics the normalisation and both affine maps are one map a x + b by channel.
    Saved for the backward pass is the input alone.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        groups: int,
        eps: float,
        silu: bool,
    ) -> Tensor:
        mean, rstd = _statistics(x, groups, eps)
        ctx.save_for_backward(x, weight, bias, scale, shift, mean, rstd)
        ctx.groups, ctx.silu = groups, silu
        h = _mapped(x, *_linear_map(mean, rstd, weight, bias, scale, shift))
        return (F.silu(h, inplace=True) if silu else h).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, scale, shift, mean, rstd = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            if ctx.silu:
                h = _mapped(x, *_linear_map(mean, rstd, weight, bias, scale, shift))
                grad = torch.ops.aten.silu_backward(grad.to(h.dtype), h)
                del h
            else:
                grad = grad.float()
            voxels = tuple(range(2, x.ndim))
            # Sums over voxels, (B, C): of the gradient of h, and of it times the normalised x.
            total = grad.sum(voxels, dtype=torch.float32)
            product = rstd * ((grad * x).sum(voxels, dtype=torch.float32) - mean * total)
            gain = 1.0 if scale is None else scale.float()
            factor = gain * weight.float()
            # Both statistics are means over the voxels and channels of a group.
            size = x[0, 0].numel()
            of_mean = _group_mean(factor * total, ctx.groups) / size
            of_deviation = _group_mean(factor * product, ctx.groups) / size
            slope = rstd.square() * of_deviation
            dx = _mapped(x, -slope, slope * mean - rstd * of_mean)
            dx = dx.addcmul_(grad, _voxelwise(rstd * factor, x)).to(x.dtype)
            dscale = dshift = None
            if scale is not None:
                dscale = (weight.float() * product + bias.float() * total).to(scale.dtype)
                dshift = total.to(shift.dtype)
            dweight = (gain * product).sum(0).to(weight.dtype)
            dbias = (gain * total).sum(0).to(bias.dtype)
        return dx, dweight, dbias, dscale, dshift, None, None, None


def _statistics(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal standard deviation of each channel's group, (B, C) float32.

    Sums by channel first: a view by group would undo the channels-last layout.
    """
    voxels = tuple(range(2, x.ndim))
    mean = _group_mean(x.mean(voxels, dtype=torch.float32), groups)
    norm = torch.linalg.vector_norm(x, dim=voxels, dtype=torch.float32)
    square = _group_mean(norm.square() / x[0, 0].numel(), groups)
    return mean, ((square - mean.square()).clamp(min=0) + eps).rsqrt()


def _group_mean(each: Tensor, groups: int) -> Tensor:
    """Mean over the channels of a group, for each channel: (B, C) to (B, C)."""
    means = each.unflatten(1, (groups, -1)).mean(2)
    return means.repeat_interleave(each.shape[1] // groups, dim=1)


def _linear_map(
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """a and b (B, C) of scale ((x - mean) rstd weight + bias) + shift = a x + b."""
    a = rstd * weight.float()
    b = bias.float() - mean * a
    if scale is None or shift is None:
        return a, b
    return scale.float() * a, scale.float() * b + shift.float()


def _mapped(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a x + b in float32, of x (B, C, ...) and a, b (B, C)."""
    return torch.addcmul(_voxelwise(b, x), x, _voxelwise(a, x))
