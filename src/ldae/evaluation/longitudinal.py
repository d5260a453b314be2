"""Longitudinal visits of participants, and their codes, each computed once.

Interpolation and extrapolation predict visits of the same participants from the same codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.interpolation import lerp, slerp
from ldae.diffusion.solvers import find_solver
from ldae.errors import UserError
from ldae.evaluation.metrics.image import compare
from ldae.evaluation.metrics.volumes import Regions, soft_volumes
from ldae.evaluation.test_scans import evenly_spaced
from ldae.inference.ldae_system import LdaeSystem
from ldae.progress import Progress

AUTHORS_STEPS = 100
MEASURED = ("ventricle", "hippocampus")  # volumes of predicted visits


def visit_series(scans: pd.DataFrame, min_visits: int) -> list[pd.DataFrame]:
    """Tables of the participants with enough visits, each sorted by months; as below."""
    series = [part.sort_values("months") for _, part in scans.groupby("participant_id")]
    return [part for part in series if part["months"].nunique() >= max(min_visits, 3)]


def longitudinal_series(
    test: pd.DataFrame, min_visits: int, most: int | None
) -> list[pd.DataFrame]:
    """Select test participants with enough visits; one table each, sorted by months.

    Args:
        test: Test rows of the volume store's index.
        min_visits: Least number of visits at different months; below 3 it counts as 3.
        most: At most so many participants, evenly spread over the sorted ids; None: all.

    Raises:
        UserError: no participant has so many visits.
    """
    series = visit_series(test, min_visits)
    if not series:
        raise UserError(
            f"No test participant has {max(min_visits, 3)} visits, so nothing can be interpolated. "
            "Lower evaluation.interpolation.min_visits (3 is the least) or add follow-up scans."
        )
    return [series[i] for i in evenly_spaced(len(series), most)]


@dataclass(frozen=True)
class Triplet:
    """Three visits of one participant, in order (start, target, end).

    Attributes:
        places: Positions in the list of visits.
        months: Months of the visits.
    """

    places: tuple[int, int, int]
    months: tuple[int, int, int]

    @property
    def alpha(self) -> float:
        """Position of the target in time between start (0) and end (1)."""
        start, target, end = self.months
        return (target - start) / (end - start)

    @property
    def nearest(self) -> int:
        """Position of the end nearer to the target; the earlier one if both are equally near."""
        start, target, end = self.months
        return self.places[2 if end - target < target - start else 0]


def triplets(months: Sequence[int], first: int = 0) -> list[Triplet]:
    """All (start, target, end) of one participant with start < target < end in time.

    Args:
        months: Months of the visits, ascending; two visits of one month are never in one triplet.
        first: Position of the first of these visits in the list of all visits.
    """
    found = (
        Triplet(tuple(first + i for i in places), tuple(months[i] for i in places))
        for places in combinations(range(len(months)), 3)
    )
    return [t for t in found if t.months[0] < t.months[1] < t.months[2]]


class InterpolationCalls(NamedTuple):
    """Network calls of an interpolation study, one scan a call.

    Attributes:
        inversions: Of every visit, once.
        decodings: Of every triplet.
        corrections: Inversions and decodings of every triplet's corrected average.
        choice: Of the corrections that are tried on validation participants.
        anew: What the study takes where both ends of every triplet are inverted anew, by DDIM with
            100 steps: the authors' code.
    """

    inversions: int
    decodings: int
    corrections: int
    choice: int
    anew: int

    @property
    def total(self) -> int:
        """All calls."""
        return self.inversions + self.decodings + self.corrections + self.choice

    @property
    def described(self) -> str:
        """Sentence for the log."""
        visits = f"{self.inversions:,} for inversions of visits, each made once, "
        return (
            f"{self.total:,} network calls, {visits if self.inversions else ''}{self.decodings:,} "
            f"for decodings, {self.corrections:,} for corrected averages and {self.choice:,} for "
            f"the choice of corrections; {self.anew:,} if every triplet were made anew with "
            f"{AUTHORS_STEPS} steps of DDIM, uncorrected"
        )


def interpolation_calls(
    visits: int, triplets: int, solver: str, steps: int, corrected: int = 0, choice: int = 0
) -> InterpolationCalls:
    """Calls of a study of so many visits and triplets (start, target, end).

    Args:
        visits: Number of visits to invert; those of a store of codes are not.
        triplets: Number of triplets.
        solver, steps: Of the study.
        corrected: Calls of each triplet's corrected average.
        choice: Calls of the choice of corrections.
    """
    up, down = find_solver(solver).calls(steps)
    return InterpolationCalls(
        visits * up,
        triplets * down,
        triplets * corrected,
        choice,
        3 * AUTHORS_STEPS * triplets,
    )


class Visits:
    """Latents, y_sem and reconstructions of V visits, each computed once and kept in CPU memory.

    Args:
        system: The trained models.
        store: The volume store of the visits.
        embeddings: y_sem of all scans by the LDAE's encoder.
        visits: Rows of the store's index to encode.
        steps: DDIM steps of inversion and decoding.
        batch_size: Scans encoded at a time.

    Attributes:
        visits: The rows, numbered from 0.
        y: Semantic codes y_sem, (V, d).
        z_0: Latents, (V, C, *S).
        decoded: The autoencoder's reconstructions, (V, 1, X, Y, Z).
        measured: Volumes of :data:`MEASURED` in them, ml, (V, 2).
        regions: Regions of the measured volumes.
    """

    z_0: Tensor
    decoded: Tensor
    measured: Tensor

    def __init__(
        self,
        system: LdaeSystem,
        store: VolumeStore,
        embeddings: str | Path,
        visits: pd.DataFrame,
        steps: int,
        batch_size: int,
    ):
        self.system, self.store, self.steps = system, store, steps
        self.visits = visits.reset_index(drop=True)
        self.regions = Regions.on(store.affine, store.shape, system.compute.device)
        self.y = torch.from_numpy(system.stored_codes(embeddings, visits["scan_id"])).float()
        parts = []
        progress = Progress("visits encoded", len(visits))
        for part in batches(len(visits), batch_size):
            z_0 = system.encode_z(self.original(part))
            decoded = system.image(z_0)
            found = {"z_0": z_0, "decoded": decoded, **self._codes(part, z_0)}
            found["measured"] = self.measure(decoded)
            parts.append({name: x.cpu() for name, x in found.items()})
            progress.step(int(part[-1]) + 1)
        for name in parts[0]:
            setattr(self, name, torch.cat([part[name] for part in parts]))

    def _codes(self, part: np.ndarray, z_0: Tensor) -> dict[str, Tensor]:
        """Further codes of some visits, by attribute."""
        return {}

    def measure(self, images: Tensor) -> Tensor:
        """Volumes of :data:`MEASURED`, ml, in images (B, 1, X, Y, Z): (B, 2)."""
        found = soft_volumes(images, images, self.regions)
        return torch.stack([found[f"{region}_ml"] for region in MEASURED], dim=1)

    def original(self, places: np.ndarray | list[int]) -> Tensor:
        """The scans of some visits, (B, 1, X, Y, Z)."""
        return self.store.volumes(self.visits["row"].to_numpy()[places])

    def compare(self, targets: list[int], image: Tensor) -> dict[str, np.ndarray]:
        """Compare predicted volumes with the real visits.

        Args:
            targets: Positions of the predicted visits in ``visits``, B of them.
            image: Predicted volumes (B, 1, X, Y, Z) in [0, 1].

        Returns:
            (B,) each. ``ssim_to_ae`` and ``mse_to_ae`` compare with the paper's reference, the
            autoencoder's reconstruction of the target. ``ssim``, ``ssim_brain`` and ``mse`` compare
            with the original. ``ventricle_error`` and ``hippocampus_error``: absolute error of the
            measured volumes (ml), or of their change from any visit that is known; both images are
            decoded, so that what the autoencoder takes from every image cancels.
        """
        original, decoded = (
            self.system.compute.move(x) for x in (self.original(targets), self.decoded[targets])
        )
        values = compare(original, decoded, image)
        errors = (self.measure(image) - self.system.compute.move(self.measured[targets])).abs()
        for region, error in zip(MEASURED, errors.unbind(1), strict=True):
            values[f"{region}_error"] = error
        return {name: value.cpu().numpy() for name, value in values.items()}


class VisitCodes(Visits):
    """Visits with their stochastic codes z_T (V, C, *S) as well, each inverted once."""

    z_T: Tensor

    def _codes(self, part: np.ndarray, z_0: Tensor) -> dict[str, Tensor]:
        scans = self.visits["scan_id"].iloc[part].tolist()
        y = self.system.compute.move(self.y[part])
        return {"z_T": self.system.invert(scans, z_0, y, self.steps)}

    def between(
        self, start: list[int], end: list[int], alpha: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """Decode the LDAE's prediction between two visits, or beyond the second for alpha > 1.

        y_sem is interpolated linearly (Eq. 12) and z_T spherically (Eq. 13).

        Args:
            start, end: Positions of the two visits in ``visits``, B each.
            alpha: (B,) position in time; 0 is the start, 1 the end.
            noise: (B, C, *S) z_T to use in place of the interpolated one.

        Returns:
            Volumes (B, 1, X, Y, Z) in [0, 1].
        """
        y = lerp(self.y[start], self.y[end], alpha)
        z_T = slerp(self.z_T[start], self.z_T[end], alpha) if noise is None else noise
        move = self.system.compute.move
        return self.system.image(self.system.decode(move(z_T), move(y), self.steps))
