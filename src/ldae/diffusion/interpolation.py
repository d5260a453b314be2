"""Interpolation of semantic codes (LERP, Eq. 12) and stochastic codes (SLERP, Eqs. 13 and 14)."""

import torch
from torch import Tensor

# Below this angle (radians) the quotients of Eq. 13 lose precision, and SLERP equals LERP to 1e-12.
_SMALL_ANGLE = 1e-6


def _fraction(t: float | Tensor, like: Tensor) -> Tensor:
    """Shape t (scalar or (B,)) as (B, 1, ...) or a scalar, in float64 on the device of ``like``."""
    t = torch.as_tensor(t, dtype=torch.float64, device=like.device)
    if t.ndim == 0:
        return t
    if t.shape != like.shape[:1]:
        raise ValueError(
            f"t must be a scalar or one value per sample ({like.shape[0]}), got {t.shape}"
        )
    return t.reshape(-1, *[1] * (like.ndim - 1))


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"the two codes differ in shape: {tuple(a.shape)} and {tuple(b.shape)}")


def lerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Interpolate linearly: (1 - t) a + t b (Eq. 12).

    Args:
        a: Codes (B, ...).
        b: Codes, shaped like ``a``.
        t: Position, a scalar or one value per sample (B,); 0 gives ``a``, 1 gives ``b``.

    Raises:
        ValueError: the shapes do not match.
    """
    _check(a, b)
    t = _fraction(t, a)
    return ((1 - t) * a + t * b).to(a.dtype)


def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Interpolate on the great circle, with one angle per sample (Eqs. 13 and 14).

    Args:
        a: Stochastic codes z_T (B, ...); every sample is one vector of all its elements.
        b: Codes, shaped like ``a``.
        t: Position, a scalar or one value per sample (B,).

    Returns:
        Codes shaped like ``a``. Samples whose codes (nearly) coincide, or one of which is zero,
        are interpolated linearly, which is the limit of Eq. 13.

    Raises:
        ValueError: the shapes do not match, or two codes point in opposite directions, between
            which no great circle is unique.
    """
    _check(a, b)
    t = _fraction(t, a)
    flat_a, flat_b = a.flatten(1).double(), b.flatten(1).double()
    norms = flat_a.norm(dim=1) * flat_b.norm(dim=1)
    cosine = (flat_a * flat_b).sum(dim=1) / torch.where(norms > 0, norms, 1.0)
    theta = torch.arccos(cosine.clamp(-1, 1)).reshape(-1, *[1] * (a.ndim - 1))
    if bool((theta > torch.pi - _SMALL_ANGLE).any()):
        raise ValueError("codes in opposite directions have no unique spherical interpolation")
    linear = (theta < _SMALL_ANGLE) | (norms == 0).reshape(theta.shape)
    angle = torch.where(linear, 1.0, theta)
    weight_a = torch.where(linear, 1 - t, torch.sin((1 - t) * angle) / torch.sin(angle))
    weight_b = torch.where(linear, t, torch.sin(t * angle) / torch.sin(angle))
    return (weight_a * a + weight_b * b).to(a.dtype)
