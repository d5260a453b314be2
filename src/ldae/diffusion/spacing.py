"""Spacing of a solver's steps over the schedule: even in t, in log-SNR, in the angle, quadratic."""

from typing import Literal

import torch
from torch import Tensor

from ldae.diffusion.ddim import ddim_timesteps
from ldae.diffusion.schedule import Schedule

Spacing = Literal["t", "log_snr", "quadratic", "angle"]
# Of spacing "angle", the part that is even in phi = atan2(sigma, alpha); the rest is even in
# lambda, which sets more points where there is little noise. Chosen on validation scans
# (docs/ablation.md).
ANGLE_PART = 0.85


def timesteps(schedule: Schedule, steps: int, spacing: Spacing = "t") -> tuple[int, ...]:
    """Increasing steps tau_0 = 0 .. tau_steps = timesteps - 1 of a sampler.

    Args:
        schedule: The schedule.
        steps: Number of intervals.
        spacing: Even in ``t``, even in lambda (``log_snr``), mostly even in the angle phi
            (``angle``), or with tau growing as the square of its index (``quadratic``). Where two
            points fall on one step, the later ones move up.

    Raises:
        ValueError: ``steps`` is not within 1..timesteps - 1, or the spacing is unknown.
    """
    even = ddim_timesteps(schedule, steps)
    if spacing == "t":
        return even
    last = schedule.timesteps - 1
    index = torch.arange(steps + 1, dtype=torch.float64) / steps
    if spacing == "quadratic":
        points = last * index**2
    elif spacing in ("log_snr", "angle"):
        log_snr = schedule.snr.cpu().double().log()
        place = _unit(log_snr)
        if spacing == "angle":
            phi = torch.atan(torch.exp(-log_snr / 2))
            place = ANGLE_PART * _unit(phi) + (1 - ANGLE_PART) * place
        upper = torch.searchsorted(place, index).clamp(1, last)
        lower = upper - 1
        points = lower + (index - place[lower]) / (place[upper] - place[lower])
    else:
        raise ValueError(f"spacing is t, log_snr, angle or quadratic, not {spacing!r}")
    tau = [round(point) for point in points.tolist()]
    for i in range(1, steps):
        tau[i] = max(tau[i], tau[i - 1] + 1)
    return tuple(min(t, last - (steps - i)) for i, t in enumerate(tau))


def _unit(values: Tensor) -> Tensor:
    """A monotone sequence from 0 to 1."""
    return (values - values[0]) / (values[-1] - values[0])
