"""Solvers of the probability-flow ODE: DDIM, two of second order, and an invertible scheme.

In the variables x = z / alpha and s = sigma / alpha (alpha = sqrt(ab_t), sigma = sqrt(1 - ab_t))
the ODE of deterministic diffusion is dx / ds = eps(z, t). All solvers here integrate it, upwards
from z_0 to z_T or downwards, and differ in how they use the network's noise estimates:

- ``ddim``: first order (Eqs. 2 and 11), steps even in t: the paper's.
- ``ddim_refined``: DDIM whose inversion is corrected by one fixed-point iteration a step, for one
  more call a step upwards.
- ``multistep``: second order, an exponential integrator in lambda = log(alpha / sigma) that takes
  eps as linear in lambda over each step (Lu et al. 2022, for noise prediction), steps even in
  lambda.
- ``angle``: second order, for fewest steps of networks that predict the velocity: in the angle
  phi = atan2(sigma, alpha), where both the noise and the clean latent are taken as linear over each
  step. Of a network that predicts eps itself, errors enter the clean latent times sigma / alpha,
  157 at the last step, and the line carries them on: ``multistep`` is nearer from 10 steps on.
- ``midpoint``: second order on even steps and exactly invertible. Each step reads the last two
  states (Wang et al. 2024), so that decoding retraces encoding up to rounding, whatever the number
  of steps. Its code holds two states.

Each direction costs ``steps`` calls of the network or so (:meth:`Solver.calls`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ldae.diffusion.ddim import ddim_decode, ddim_encode
from ldae.diffusion.schedule import Schedule
from ldae.diffusion.spacing import Spacing, timesteps
from ldae.errors import require

EpsFn = Callable[[Tensor, Tensor], Tensor]


class Solver(ABC):
    """A solver of both directions between clean latents z_0 and their codes z_T.

    Attributes:
        states: Number of states that a code holds: a code has ``states`` times the channels of z_0.
    """

    states = 1

    @abstractmethod
    def encode(self, eps_fn: EpsFn, z_0: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """Invert: the code from which :meth:`decode` returns to ``z_0`` under the same ``eps_fn``.

        Args:
            eps_fn: Noise estimate, ``eps_fn(z (B, C, ...), t (B,) long)``, shaped like z.
            z_0: Clean latents (B, C, ...) of unit variance.
            schedule: The schedule the network was trained with.
            steps: Number of steps T.

        Returns:
            z_T (B, states * C, ...).

        Raises:
            ValueError: ``steps`` is not within 1..timesteps - 1.
        """

    @abstractmethod
    def decode(self, eps_fn: EpsFn, z_T: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """Generate z_0 (B, C, ...) from a code of :meth:`encode`; arguments as there."""

    def sample(self, eps_fn: EpsFn, noise: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """Generate z_0 from noise (B, C, ...)."""
        return self.decode(eps_fn, noise, schedule, steps)

    def calls(self, steps: int) -> tuple[int, int]:
        """Calls of the network that :meth:`encode` and :meth:`decode` take for ``steps`` steps."""
        return steps, steps


class Ddim(Solver):
    """DDIM: first order, ``refinements`` fixed-point iterations per step of the inversion."""

    def __init__(self, refinements: int = 0):
        self.refinements = refinements

    def calls(self, steps: int) -> tuple[int, int]:
        """See :meth:`Solver.calls`."""
        return (1 + self.refinements) * steps, steps

    def encode(self, eps_fn: EpsFn, z_0: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.encode`."""
        return ddim_encode(eps_fn, z_0, schedule, steps, refinements=self.refinements)

    def decode(self, eps_fn: EpsFn, z_T: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.decode`."""
        return ddim_decode(eps_fn, z_T, schedule, steps)


class Multistep(Solver):
    """Second-order multistep integrator in lambda, of noise prediction.

    Over a step of length h in lambda, eps is the line through its last two estimates; the integral
    of the line against ds = -exp(-lambda) dlambda is exact. The first step has one estimate. It is
    taken at first order, and repeated with the line to the estimate at its end, which the second
    step reads as well: second order from the start, for no further call.
    """

    spacing: Spacing = "log_snr"

    def encode(self, eps_fn: EpsFn, z_0: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.encode`."""
        return self._integrate(eps_fn, z_0, schedule, timesteps(schedule, steps, self.spacing))

    def decode(self, eps_fn: EpsFn, z_T: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.decode`."""
        tau = timesteps(schedule, steps, self.spacing)
        return self._integrate(eps_fn, z_T, schedule, tau[::-1])

    @torch.no_grad()
    def _integrate(
        self, eps_fn: EpsFn, z: Tensor, schedule: Schedule, tau: Sequence[int]
    ) -> Tensor:
        """From tau[0] to tau[-1], in either direction."""
        x = z / schedule.level(tau[0])[0]
        eps = ahead = slope = None
        last_length = math.nan
        for i, (a, b) in enumerate(pairwise(tau)):
            start, end = _ratio(schedule, a), _ratio(schedule, b)
            length = math.log(start / end)  # in lambda
            # Integrals over the step of 1 and of lambda - lambda_a, against ds.
            whole, ramp = end - start, length * end + end - start
            last, eps = eps, ahead if i == 1 else _estimate(eps_fn, x, a, schedule)
            if i > 0:
                slope = (eps - last) / last_length
            elif len(tau) > 2:
                ahead = _estimate(eps_fn, x + whole * eps, b, schedule)
                slope = (ahead - eps) / length
            x = x + whole * eps + (0 if slope is None else ramp * slope)
            last_length = length
        return x * schedule.level(tau[-1])[0]


class Angle(Solver):
    """Second-order multistep integrator in the angle phi, of both predictions.

    With z = cos(phi) z_0 + sin(phi) eps the ODE is dz / dphi = cos(phi) eps - sin(phi) z_0. Over a
    step both estimates, of eps and of the z_0 that follows from it, are lines through their last
    two values; the integral of the lines is exact. The first step is as :class:`Multistep`'s.
    """

    def encode(self, eps_fn: EpsFn, z_0: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.encode`."""
        return self._integrate(eps_fn, z_0, schedule, timesteps(schedule, steps, "angle"))

    def decode(self, eps_fn: EpsFn, z_T: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.decode`."""
        return self._integrate(eps_fn, z_T, schedule, timesteps(schedule, steps, "angle")[::-1])

    @torch.no_grad()
    def _integrate(
        self, eps_fn: EpsFn, z: Tensor, schedule: Schedule, tau: Sequence[int]
    ) -> Tensor:
        """From tau[0] to tau[-1], in either direction."""
        both = ahead = slopes = None
        last_length = math.nan
        for i, (a, b) in enumerate(pairwise(tau)):
            start, end = _angle(schedule, a), _angle(schedule, b)
            length = end - start
            last, both = both, ahead if i == 1 else _predictions(eps_fn, z, a, schedule)
            if i > 0:
                slopes = [
                    (now - before) / last_length for now, before in zip(both, last, strict=True)
                ]
            elif len(tau) > 2:
                guess = _turn(z, start, end, both, None)
                ahead = _predictions(eps_fn, guess, b, schedule)
                slopes = [(then - now) / length for then, now in zip(ahead, both, strict=True)]
            z = _turn(z, start, end, both, slopes)
            last_length = length
        return z


class Midpoint(Solver):
    """Two-step midpoint rule in (x, s): x_{n+1} = x_{n-1} + (s_{n+1} - s_{n-1}) eps(x_n).

    Read backwards it is the same rule, so decoding retraces encoding. A code holds the last two
    states, the later one first, as float64: the rule has no damping, and carries roundings of the
    code to z_0 magnified by alpha_0 / alpha_T (160 in the paper's schedule). Decoding from noise,
    which is one state, begins with a step of first order.
    """

    states = 2
    spacing: Spacing = "log_snr"

    def calls(self, steps: int) -> tuple[int, int]:
        """See :meth:`Solver.calls`; the code holds the first step of the way back."""
        return steps, steps - 1

    @torch.no_grad()
    def encode(self, eps_fn: EpsFn, z_0: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.encode`."""
        tau = timesteps(schedule, steps, self.spacing)
        x = z_0.double() / schedule.level(tau[0])[0]
        step = _between(schedule, tau[0], tau[1])
        before, x = x, x + step * _estimate(eps_fn, x, tau[0], schedule)
        for early, t, late in zip(tau, tau[1:], tau[2:], strict=False):
            step = _between(schedule, early, late)
            before, x = x, before + step * _estimate(eps_fn, x, t, schedule)
        levels = (schedule.level(tau[-1])[0], schedule.level(tau[-2])[0])
        return torch.cat([x * levels[0], before * levels[1]], dim=1)

    @torch.no_grad()
    def decode(self, eps_fn: EpsFn, z_T: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.decode`."""
        tau = timesteps(schedule, steps, self.spacing)
        x, before = z_T.double().chunk(2, dim=1)
        x, before = x / schedule.level(tau[-1])[0], before / schedule.level(tau[-2])[0]
        return self._descend(eps_fn, x, before, schedule, tau).to(torch.float32)

    @torch.no_grad()
    def sample(self, eps_fn: EpsFn, noise: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.sample`."""
        tau = timesteps(schedule, steps, self.spacing)
        x = noise.double() / schedule.level(tau[-1])[0]
        before = x + _between(schedule, tau[-1], tau[-2]) * _estimate(eps_fn, x, tau[-1], schedule)
        return self._descend(eps_fn, x, before, schedule, tau).to(torch.float32)

    @staticmethod
    def _descend(
        eps_fn: EpsFn, x: Tensor, before: Tensor, schedule: Schedule, tau: Sequence[int]
    ) -> Tensor:
        """z_0 from x at the last step and x at the one ``before`` it."""
        for early, t, late in zip(tau[-3::-1], tau[-2::-1], tau[::-1], strict=False):
            step = _between(schedule, late, early)
            x, before = before, x + step * _estimate(eps_fn, before, t, schedule)
        return before * schedule.level(tau[0])[0]


def _between(schedule: Schedule, a: int, b: int) -> float:
    """Change of s from step a to step b."""
    return _ratio(schedule, b) - _ratio(schedule, a)


def _ratio(schedule: Schedule, t: int) -> float:
    """s = sigma / alpha of step t."""
    signal, noise = schedule.level(t)
    return noise / signal


def _angle(schedule: Schedule, t: int) -> float:
    """phi = atan2(sigma, alpha) of step t."""
    signal, noise = schedule.level(t)
    return math.atan2(noise, signal)


def _predictions(eps_fn: EpsFn, z: Tensor, t: int, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Estimates at z of step t: of eps, and of the clean latent that follows from it."""
    signal, noise = schedule.level(t)
    eps = eps_fn(z, torch.full((len(z),), t, dtype=torch.long, device=z.device))
    return eps, (z - noise * eps) / signal


def _turn(
    z: Tensor,
    start: float,
    end: float,
    both: Sequence[Tensor],
    slopes: Sequence[Tensor] | None,
) -> Tensor:
    """z from angle ``start`` to ``end``: the integral of cos(phi) eps - sin(phi) z_0.

    Args:
        z: Latents at ``start``.
        start, end: Angles, rad.
        both: eps and z_0 at ``start``.
        slopes: Their changes per radian; None: none.
    """
    cosine, sine = math.cos(end) - math.cos(start), math.sin(end) - math.sin(start)
    eps, clean = both
    z = z + sine * eps + cosine * clean
    if slopes is None:
        return z
    length = end - start
    of_eps, of_clean = slopes
    z = z + (length * math.sin(end) + cosine) * of_eps
    return z + (length * math.cos(end) - sine) * of_clean


def _estimate(eps_fn: EpsFn, x: Tensor, t: int, schedule: Schedule) -> Tensor:
    """Noise estimate at x = z / alpha of step t, in the dtype of x; the network computes fp32."""
    z = (x * schedule.level(t)[0]).float()
    return eps_fn(z, torch.full((len(x),), t, dtype=torch.long, device=x.device)).to(x.dtype)


SOLVERS: dict[str, Solver] = {
    "ddim": Ddim(),
    "ddim_refined": Ddim(refinements=1),
    "multistep": Multistep(),
    "angle": Angle(),
    "midpoint": Midpoint(),
}


def find_solver(name: str) -> Solver:
    """The solver of a name of the configuration (``evaluation.solver``).

    Raises:
        UserError: there is none of this name.
    """
    require(name in SOLVERS, f"evaluation.solver is one of {', '.join(SOLVERS)}, not {name!r}.")
    return SOLVERS[name]
