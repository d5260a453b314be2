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
Predictions = tuple[Tensor, ...]


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


class LinearMultistep(Solver):
    """Second-order multistep integrator: predictions are lines in a variable of the schedule."""

    spacing: Spacing

    @abstractmethod
    def _integrate(
        self, eps_fn: EpsFn, z: Tensor, schedule: Schedule, tau: Sequence[int]
    ) -> Tensor:
        """z from step tau[0] to tau[-1], in either direction."""

    @torch.no_grad()
    def encode(self, eps_fn: EpsFn, z_0: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.encode`."""
        return self._integrate(eps_fn, z_0, schedule, timesteps(schedule, steps, self.spacing))

    @torch.no_grad()
    def decode(self, eps_fn: EpsFn, z_T: Tensor, schedule: Schedule, steps: int) -> Tensor:
        """See :meth:`Solver.decode`."""
        tau = timesteps(schedule, steps, self.spacing)
        return self._integrate(eps_fn, z_T, schedule, tau[::-1])


class Multistep(LinearMultistep):
    """Second-order multistep integrator in lambda, of noise prediction.

    The integral of the line of eps against ds = -exp(-lambda) dlambda is exact.
    """

    spacing: Spacing = "log_snr"

    def _integrate(
        self, eps_fn: EpsFn, z: Tensor, schedule: Schedule, tau: Sequence[int]
    ) -> Tensor:
        """See :meth:`LinearMultistep._integrate`."""

        def length(a: int, b: int) -> float:
            return math.log(_ratio(schedule, a) / _ratio(schedule, b))  # in lambda

        def predict(x: Tensor, t: int) -> Predictions:
            return (_estimate(eps_fn, x, t, schedule),)

        def step(x: Tensor, a: int, b: int, eps: Predictions, slope: Predictions | None) -> Tensor:
            start, end = _ratio(schedule, a), _ratio(schedule, b)
            # Integrals over the step of 1 and of lambda - lambda_a, against ds.
            whole, ramp = end - start, length(a, b) * end + end - start
            x = x + whole * eps[0]
            return x if slope is None else x + ramp * slope[0]

        x = _along_lines(z / schedule.level(tau[0])[0], tau, length, predict, step)
        return x * schedule.level(tau[-1])[0]


class Angle(LinearMultistep):
    """Second-order multistep integrator in the angle phi, of both predictions.

    With z = cos(phi) z_0 + sin(phi) eps the ODE is dz / dphi = cos(phi) eps - sin(phi) z_0. Over a
    step both estimates, of eps and of the z_0 that follows from it, are lines through their last
    two values; the integral of the lines is exact. The first step is as :class:`Multistep`'s.
    """

    spacing: Spacing = "angle"

    def _integrate(
        self, eps_fn: EpsFn, z: Tensor, schedule: Schedule, tau: Sequence[int]
    ) -> Tensor:
        """See :meth:`LinearMultistep._integrate`."""

        def length(a: int, b: int) -> float:
            return _angle(schedule, b) - _angle(schedule, a)

        def predict(z: Tensor, t: int) -> Predictions:
            signal, noise = schedule.level(t)
            eps = eps_fn(z, torch.full((len(z),), t, dtype=torch.long, device=z.device))
            return eps, (z - noise * eps) / signal

        def step(
            z: Tensor, a: int, b: int, both: Predictions, slopes: Predictions | None
        ) -> Tensor:
            start, end = _angle(schedule, a), _angle(schedule, b)
            # Integrals over the step of cos(phi) and of -sin(phi); then of these times phi - phi_a.
            sine, cosine = math.sin(end) - math.sin(start), math.cos(end) - math.cos(start)
            z = z + sine * both[0] + cosine * both[1]
            if slopes is None:
                return z
            wide = end - start
            z = z + (wide * math.sin(end) + cosine) * slopes[0]
            return z + (wide * math.cos(end) - sine) * slopes[1]

        return _along_lines(z, tau, length, predict, step)


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


def _along_lines(
    state: Tensor,
    tau: Sequence[int],
    length: Callable[[int, int], float],
    predict: Callable[[Tensor, int], Predictions],
    step: Callable[[Tensor, int, int, Predictions, Predictions | None], Tensor],
) -> Tensor:
    """A state from step tau[0] to tau[-1], each prediction the line through its last two values.

    The first step has one value of each. It is taken at first order, and repeated with the lines
    to the predictions at its end, which the second step reads as well: second order from the start,
    for no further call.

    Args:
        state: At step tau[0].
        tau: The steps, in either order.
        length: Change of the variable of the lines between two steps.
        predict: Predictions at a state of a step.
        step: The state one step on: from a state, its step and the next, predictions, and their
            slopes in the variable (None: constant).
    """

    def slopes(before: Predictions, after: Predictions, wide: float) -> Predictions:
        return tuple((now - last) / wide for last, now in zip(before, after, strict=True))

    values = ahead = slope = None
    for i, (a, b) in enumerate(pairwise(tau)):
        last, values = values, ahead if i == 1 else predict(state, a)
        if i > 0:
            slope = slopes(last, values, length(tau[i - 1], a))
        elif len(tau) > 2:
            ahead = predict(step(state, a, b, values, None), b)
            slope = slopes(values, ahead, length(a, b))
        state = step(state, a, b, values, slope)
    return state


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
