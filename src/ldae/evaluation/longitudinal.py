"""Longitudinal visits of test participants, and their codes, each computed once.

Interpolation and extrapolation predict visits of the same participants from the same codes.
"""

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
from ldae.evaluation.test_scans import evenly_spaced
from ldae.inference.ldae_system import LdaeSystem
from ldae.progress import Progress

AUTHORS_STEPS = 100


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
    series = [part.sort_values("months") for _, part in test.groupby("participant_id")]
    series = [part for part in series if part["months"].nunique() >= max(min_visits, 3)]
    if not series:
        raise UserError(
            f"No test participant has {max(min_visits, 3)} visits, so nothing can be interpolated. "
            "Lower evaluation.interpolation.min_visits (3 is the least) or add follow-up scans."
        )
    return [series[i] for i in evenly_spaced(len(series), most)]


class InterpolationCalls(NamedTuple):
    """Network calls of an interpolation study, one scan a call.

    Attributes:
        inversions: Of every visit, once.
        decodings: Of every triplet.
        anew: What the study takes where both ends of every triplet are inverted anew, by DDIM with
            100 steps: the authors' code.
    """

    inversions: int
    decodings: int
    anew: int

    @property
    def total(self) -> int:
        """All calls."""
        return self.inversions + self.decodings

    @property
    def described(self) -> str:
        """Sentence for the log."""
        return (
            f"{self.total:,} network calls, {self.inversions:,} of them for inversions, each made "
            f"once; {self.anew:,} if every triplet were made anew with 100 steps of DDIM"
        )


def interpolation_calls(visits: int, triplets: int, solver: str, steps: int) -> InterpolationCalls:
    """Calls of a study of so many visits and triplets (start, target, end)."""
    up, down = find_solver(solver).calls(steps)
    return InterpolationCalls(visits * up, triplets * down, 3 * AUTHORS_STEPS * triplets)


class VisitCodes:
    """Codes and reconstructions of V visits, each computed once and kept in the CPU's memory.

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
        z_0, z_T: Latents and stochastic codes, (V, C, *S) each.
        decoded: The autoencoder's reconstructions, (V, 1, X, Y, Z).
    """

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
        self.y = torch.from_numpy(system.stored_codes(embeddings, visits["scan_id"])).float()
        parts = []
        progress = Progress("visits encoded", len(visits))
        for part in batches(len(visits), batch_size):
            z_0 = system.encode_z(self.original(part))
            scans = self.visits["scan_id"].iloc[part].tolist()
            z_T = system.invert(scans, z_0, system.compute.move(self.y[part]), steps)
            parts.append([x.cpu() for x in (z_0, z_T, system.image(z_0))])
            progress.step(int(part[-1]) + 1)
        self.z_0, self.z_T, self.decoded = (torch.cat(x) for x in zip(*parts, strict=True))

    def original(self, places: np.ndarray | list[int]) -> Tensor:
        """The scans of some visits, (B, 1, X, Y, Z)."""
        return self.store.volumes(self.visits["row"].to_numpy()[places])

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

    def compare(self, targets: list[int], image: Tensor) -> dict[str, np.ndarray]:
        """Compare predicted volumes with the real visits.

        Args:
            targets: Positions of the predicted visits in ``visits``, B of them.
            image: Predicted volumes (B, 1, X, Y, Z) in [0, 1].

        Returns:
            (B,) each. ``ssim_to_ae`` and ``mse_to_ae`` compare with the paper's reference, the
            autoencoder's reconstruction of the target. ``ssim``, ``ssim_brain`` and ``mse`` compare
            with the original.
        """
        original, decoded = (
            self.system.compute.move(x) for x in (self.original(targets), self.decoded[targets])
        )
        values = compare(original, decoded, image)
        return {name: value.cpu().numpy() for name, value in values.items()}
