"""Partial noising: a schedule that ends at a step t_0 below T, for inversions that end there.

A latent that is inverted only up to t_0 keeps its coarse structure, whatever code it is decoded
with; the solvers place their steps on [0, t_0] as they do on [0, T - 1].
"""

from copy import copy

from ldae.diffusion.schedule import Schedule


def up_to(schedule: Schedule, last: int) -> Schedule:
    """The schedule's steps 0..last, with the same coefficients at each.

    Raises:
        ValueError: ``last`` is not a step of the schedule, or the first.
    """
    if not 1 <= last < schedule.timesteps:
        raise ValueError(f"the last step must be within 1..{schedule.timesteps - 1}, got {last}")
    part = copy(schedule)
    part.timesteps = last + 1
    for name in schedule.TABLES:
        setattr(part, name, getattr(schedule, name)[: last + 1])
    return part
