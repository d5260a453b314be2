"""Averages of visits, corrected by the decoder towards the code that the wanted visit should have.

An average of a participant's visits has less noise than each of them, and is hard to predict better
than by (:mod:`ldae.evaluation.extrapolation`). So the correction starts from it: its latent is
inverted up to a step t_0 with its own code, and decoded with a code that is moved.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ldae.diffusion.interpolation import lerp
from ldae.diffusion.solvers import find_solver
from ldae.evaluation.ageing import Ageing, slope_weights
from ldae.evaluation.longitudinal import Visits
from ldae.inference.ldae_system import LdaeSystem

METHOD = "ldae_corrected"


class Correction(NamedTuple):
    """Strength of a correction, and where it begins.

    Attributes:
        strength: Factor on the move of the code; 0: the average as it is.
        own_line: Share of the participant's own line in the move; the rest is the population's.
        from_step: Step t_0 of the diffusion up to which the average is inverted.
    """

    strength: float
    own_line: float
    from_step: int


NONE = Correction(0.0, 0.0, 0)


class Averages(NamedTuple):
    """Averaged latents of B predictions, their codes, and two moves towards the wanted visits'.

    Attributes:
        z: Averaged latents (B, C, *S).
        y: Codes of the averages (B, d).
        population, own: Moves of the code (B, d): by the population's change, and by the
            participant's own.
        targets: Positions of the wanted visits in the list of visits, B of them.
    """

    z: Tensor
    y: Tensor
    population: Tensor
    own: Tensor
    targets: list[int]

    def moved(self, correction: Correction) -> Tensor:
        """Codes (B, d) to decode with."""
        return self.y + correction.strength * lerp(self.population, self.own, correction.own_line)


def forecast_averages(
    visits: Visits, known: Sequence[Sequence[int]], targets: list[int], ageing: Ageing
) -> Averages:
    """Averages of the visits so far, to be moved to a later one in time.

    The own line is that of least squares through the codes of these visits. A single visit has
    none: its own move is the population's.

    Args:
        visits: Codes of all visits.
        known: Positions of the visits so far, of each prediction one or more.
        targets: Positions of the visits to predict.
        ageing: Change per year of the training people.
    """
    months = visits.visits["months"].to_numpy()
    z, y, own, years = [], [], [], []
    for places, target in zip(known, targets, strict=True):
        at, codes = months[list(places)], visits.y[list(places)]
        weights = torch.from_numpy(slope_weights(at)).to(codes)
        z.append(visits.z_0[list(places)].mean(0))
        y.append(codes.mean(0))
        own.append(weights @ codes if weights.any() else ageing.y)
        years.append((months[target] - at.mean()) / 12)
    ahead = torch.tensor(years, dtype=torch.float32)[:, None]
    return Averages(
        torch.stack(z), torch.stack(y), ahead * ageing.y, ahead * torch.stack(own), targets
    )


def missing_averages(
    visits: Visits, start: list[int], end: list[int], alpha: Tensor, targets: list[int]
) -> Averages:
    """Averages of an earlier and a later visit (latent LERP), to be moved to the LERP of y_sem.

    The code of an average is that of its image: averaging takes noise away, and with it a part of
    what the codes of single visits hold.

    Args:
        visits: Codes of all visits.
        start, end: Positions of the two known visits, B each.
        alpha: (B,) position in time; 0 is the start, 1 the end.
        targets: Positions of the visits to predict.
    """
    system = visits.system
    z = lerp(visits.z_0[start], visits.z_0[end], alpha)
    y = system.y_sem(system.image(system.compute.move(z))).cpu()
    move = lerp(visits.y[start], visits.y[end], alpha) - y
    return Averages(z, y, move, move, targets)


def corrected_images(
    system: LdaeSystem, averages: Averages, corrections: Sequence[Correction], steps: int
) -> list[Tensor]:
    """Volumes (B, 1, X, Y, Z) of every correction; each t_0 costs one inversion.

    Args:
        system: The trained models.
        averages: What is corrected.
        corrections: The corrections; of strength 0 is the decoded average.
        steps: Steps of the solver up to t_0, and back; t_0 of them where it is smaller.
    """
    z, y = (system.compute.move(part) for part in (averages.z, averages.y))
    inverted: dict[int, Tensor] = {}
    images = []
    for correction in corrections:
        if correction.strength == 0:
            images.append(system.image(z))
            continue
        t_0 = correction.from_step
        partly, within = system.up_to_step(t_0), min(steps, t_0)
        if t_0 not in inverted:
            inverted[t_0] = partly.encode_zT(z, y, within)
        code = system.compute.move(averages.moved(correction))
        images.append(system.image(partly.decode(inverted[t_0], code, within)))
    return images


def correction_calls(corrections: Sequence[Correction], solver: str, steps: int) -> int:
    """Network calls of :func:`corrected_images` for one average."""
    made = [correction.from_step for correction in corrections if correction.strength != 0]
    ways = {t_0: find_solver(solver).calls(min(steps, t_0)) for t_0 in made}
    return sum(up for up, _ in ways.values()) + sum(ways[t_0][1] for t_0 in made)
