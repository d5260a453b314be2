"""Deterministic DDIM in both directions: z_0 -> z_T (Eq. 11), z_T -> z_0 (Eq. 2 with sigma = 0).

Both directions take the same steps tau_0 = 0 < ... < tau_T = timesteps - 1. The clean latent is
taken to be at tau_0, so each direction costs T calls of the network.

Nothing is clamped by default. Clamping the predicted z_0 to [-1, 1] is right for images scaled to
that range; latents of unit variance leave it in a third of the voxels, and clamping them breaks
the inversion and narrows the samples.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ldae.diffusion.schedule import Schedule

EpsFn = Callable[[Tensor, Tensor], Tensor]


def ddim_timesteps(schedule: Schedule, steps: int) -> tuple[int, ...]:
    """Return tau_0..tau_steps, the whole parts of ``steps + 1`` even points on [0, timesteps - 1].

    Computed in integers, so that no rounding of floats can move a step.

    Raises:
        ValueError: ``steps`` is not within 1..timesteps - 1.
    """
    last = schedule.timesteps - 1
    if not 1 <= steps <= last:
        raise ValueError(f"DDIM steps must be within 1..{last}, got {steps}")
    return tuple(i * last // steps for i in range(steps + 1))


def _step(
    schedule: Schedule, z: Tensor, eps: Tensor, start: int, end: int, clamp: float | None
) -> Tensor:
    """Move ``z`` from step ``start`` to step ``end`` along ``eps``."""
    signal, noise = schedule.level(start)
    z_0 = (z - noise * eps) / signal
    if clamp is not None:
        z_0 = z_0.clamp(-clamp, clamp)
        eps = (z - signal * z_0) / noise  # the eps of that z_0: else the step leaves the bound
    signal, noise = schedule.level(end)
    return signal * z_0 + noise * eps


def _at(z: Tensor, t: int) -> Tensor:
    return torch.full((z.shape[0],), t, dtype=torch.long, device=z.device)


@torch.no_grad()
def ddim_encode(
    eps_fn: EpsFn,
    z_0: Tensor,
    schedule: Schedule,
    steps: int,
    clamp: float | None = None,
    refinements: int = 0,
) -> Tensor:
    """Invert: the stochastic code z_T from which :func:`ddim_decode` returns to ``z_0``.

    Args:
        eps_fn: Noise estimate, ``eps_fn(z (B, C, ...), t (B,) long)``, shaped like z.
        z_0: Clean latents (B, C, ...), in the unit-variance scale of the diffusion model.
        schedule: The schedule the network was trained with.
        steps: Number of DDIM steps T; T network calls.
        clamp: Bound on the predicted z_0, which eps then follows; None (latents) leaves it free.
        refinements: Fixed-point iterations per step. Plain inversion evaluates eps at the lower end
            of a step, decoding at its upper end; each iteration re-evaluates it at the upper end,
            which makes the round trip nearly exact for one more network call a step.

    Returns:
        z_T, shaped like ``z_0``.

    Raises:
        ValueError: ``steps`` is not within 1..timesteps - 1.
    """
    tau = ddim_timesteps(schedule, steps)
    z = z_0
    for low, high in pairwise(tau):
        z_high = _step(schedule, z, eps_fn(z, _at(z, low)), low, high, clamp)
        for _ in range(refinements):
            z_high = _step(schedule, z, eps_fn(z_high, _at(z, high)), low, high, clamp)
        z = z_high
    return z


@torch.no_grad()
def ddim_decode(
    eps_fn: EpsFn, z_T: Tensor, schedule: Schedule, steps: int, clamp: float | None = None
) -> Tensor:
    """Generate z_0 from ``z_T``, deterministically; arguments and errors as in ddim_encode."""
    tau = ddim_timesteps(schedule, steps)
    z = z_T
    for high, low in pairwise(reversed(tau)):
        z = _step(schedule, z, eps_fn(z, _at(z, high)), high, low, clamp)
    return z
