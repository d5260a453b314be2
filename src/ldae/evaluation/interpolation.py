"""Missing visits predicted from an earlier and a later one (sections 3.8 and 5.5, Figures 8, 9)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.volume_store import VolumeStore
from ldae.diffusion.interpolation import lerp, slerp
from ldae.errors import UserError
from ldae.evaluation.arrays import as_arrays, save_arrays
from ldae.evaluation.interpolation_tables import difference_table, summary_table
from ldae.evaluation.metrics import brain_mask, mse, ssim, ssim_window
from ldae.evaluation.scans import batches, spread
from ldae.evaluation.systems import LdaeSystem
from ldae.files import write_table
from ldae.progress import Progress


@dataclass(frozen=True)
class Triplet:
    """Three visits of one participant: positions in the list of visits, and their months."""

    places: tuple[int, int, int]  # start, target, end
    months: tuple[int, int, int]

    @property
    def alpha(self) -> float:
        """Where the target lies in time between start (0) and end (1)."""
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
        months: Months of the visits, ascending; visits of the same month form no triplet.
        first: Position of the first of these visits in the list of all visits.
    """
    found = (
        Triplet(tuple(first + i for i in places), tuple(months[i] for i in places))
        for places in combinations(range(len(months)), 3)
    )
    return [t for t in found if t.months[0] < t.months[1] < t.months[2]]


def longitudinal(test: pd.DataFrame, min_visits: int, most: int | None) -> list[pd.DataFrame]:
    """Visits of test participants with at least ``min_visits`` of them, in order of months.

    At most ``most`` participants, evenly spread over the sorted ids.

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
    return [series[i] for i in spread(len(series), most)]


class Codes:
    """What all methods need of V visits, each encoded once; kept in the CPU's memory.

    Attributes:
        visits: Rows of the store's index, in order of ``participant_id`` and ``months``.
        y, z_0, z_T: (V, d), (V, C, *S), (V, C, *S).
        decoded: The autoencoder's reconstructions (V, 1, X, Y, Z).
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
        self.visits = visits
        self.y = torch.from_numpy(system.stored_codes(embeddings, visits["scan_id"])).float()
        parts = []
        progress = Progress("visits encoded", len(visits))
        for part in batches(len(visits), batch_size):
            z_0 = system.encode_z(store.volumes(visits["row"].to_numpy()[part]))
            z_T = system.encode_zT(z_0, system.compute.move(self.y[part]), steps)
            parts.append([x.cpu() for x in (z_0, z_T, system.image(z_0))])
            progress.step(int(part[-1]) + 1)
        self.z_0, self.z_T, self.decoded = (torch.cat(x) for x in zip(*parts, strict=True))

    def between(
        self, system: LdaeSystem, start: list[int], end: list[int], alpha: Tensor, steps: int
    ) -> Tensor:
        """LDAE's volumes between visits: y_sem linear, z_T spherical (Eqs. 12, 13), decoded."""
        y = lerp(self.y[start], self.y[end], alpha)
        z_T = slerp(self.z_T[start], self.z_T[end], alpha)
        move = system.compute.move
        return system.image(system.decode(move(z_T), move(y), steps))


def predictions(
    system: LdaeSystem, codes: Codes, chosen: list[Triplet], steps: int
) -> Iterator[tuple[str, Tensor]]:
    """Predicted volumes (B, 1, X, Y, Z) of the targets by every method.

    ``ldae``: :meth:`Codes.between`. Baselines, all within the autoencoder's output space:
    ``nearest_visit``, ``voxel_average`` (weights 1 - alpha, alpha) and ``latent_lerp`` (of z_0).
    """
    start, end = [t.places[0] for t in chosen], [t.places[2] for t in chosen]
    alpha = torch.tensor([t.alpha for t in chosen], dtype=torch.float64)
    move = system.compute.move
    yield "ldae", codes.between(system, start, end, alpha, steps)
    yield "nearest_visit", move(codes.decoded[[t.nearest for t in chosen]])
    yield "voxel_average", move(lerp(codes.decoded[start], codes.decoded[end], alpha))
    yield "latent_lerp", system.image(move(lerp(codes.z_0[start], codes.z_0[end], alpha)))


def evaluate_interpolation(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    scans: str | Path,
    table: str | Path,
    differences: str | Path,
    arrays: str | Path,
    cfg: dict[str, Any],
    subject: str | None,
    seed: int,
) -> None:
    """Predict every intermediate visit of test participants and compare it with the real one.

    Args:
        system, volumes, embeddings: As in the reconstruction.
        scans: Per-triplet table: participant_id, start, target, end (months), alpha,
            prediction_gap (months to the nearer end), time_gap (months between the ends), method,
            ssim_to_ae, mse_to_ae (the paper's reference: the autoencoder's reconstruction of the
            target), ssim, ssim_brain, mse (against the original), ssim_window.
        table: grouping (overall, prediction_gap, time_gap, relative_position), group, method,
            metric, value, ci_low, ci_high, n_triplets, n_subjects.
        differences: Paired differences of the LDAE with every baseline, overall.
        arrays: npz of the example (Figure 9): participant_id, scan_id, months, factor (V,),
            original, autoencoder, interpolated (V, X, Y, Z), spacing; interpolated from the first
            and the last visit, which are decoded from their own codes (factor 0 and 1).
        cfg: Section ``evaluation`` (``interpolation``, ``batch_size``, ``bootstrap``).
        subject: ``figures.interpolation_subject``; None: the participant with most visits.
        seed: Of the resamples.
    """
    store, settings = system.volume_store(volumes), cfg["interpolation"]
    steps, size = settings["ddim_steps"], cfg["batch_size"]
    test = store.index.loc[store.rows("test")]
    series = longitudinal(test, settings["min_visits"], settings["subjects"])
    visits = pd.concat(series, ignore_index=True)
    codes = Codes(system, store, embeddings, visits, steps, size)
    every: list[Triplet] = []
    for _, rows in visits.groupby("participant_id", sort=False):
        every += triplets(rows["months"].tolist(), int(rows.index[0]))
    frames = []
    progress = Progress("interpolation", len(every))
    for part in batches(len(every), size):
        frames += _compare(system, store, codes, [every[i] for i in part], steps)
        progress.step(int(part[-1]) + 1)
    key = ["participant_id", "start", "target", "end"]
    result = pd.concat(frames).sort_values(key, kind="stable", ignore_index=True)
    result["ssim_window"] = ssim_window(store.shape)
    write_table(result, scans)
    shown = _shown(test, series, subject)
    _example(system, store, Codes(system, store, embeddings, shown, steps, size), arrays, cfg)
    write_table(difference_table(result, cfg["bootstrap"], seed), differences)
    write_table(summary_table(result, cfg["bootstrap"], seed), table)


def _compare(
    system: LdaeSystem, store: VolumeStore, codes: Codes, chosen: list[Triplet], steps: int
) -> list[pd.DataFrame]:
    """Rows of one batch of triplets, all methods."""
    at = np.array([t.months for t in chosen])
    targets = [t.places[1] for t in chosen]
    known = pd.DataFrame(at, columns=["start", "target", "end"])
    known.insert(0, "participant_id", codes.visits["participant_id"].to_numpy()[targets])
    known["alpha"] = [t.alpha for t in chosen]
    known["prediction_gap"] = np.minimum(at[:, 1] - at[:, 0], at[:, 2] - at[:, 1])
    known["time_gap"] = at[:, 2] - at[:, 0]
    original = system.compute.move(store.volumes(codes.visits["row"].to_numpy()[targets]))
    decoded = system.compute.move(codes.decoded[targets])
    brain = brain_mask(original)
    frames = []
    for method, image in predictions(system, codes, chosen, steps):
        whole, within = ssim(original, image, brain)
        values = {
            "ssim_to_ae": ssim(decoded, image, brain)[0],
            "mse_to_ae": mse(decoded, image),
            "ssim": whole,
            "ssim_brain": within,
            "mse": mse(original, image),
        }
        columns = {name: value.cpu().numpy() for name, value in values.items()}
        frames.append(known.assign(method=method, **columns))
    return frames


def _shown(test: pd.DataFrame, series: list[pd.DataFrame], subject: str | None) -> pd.DataFrame:
    """Visits of the example participant, one a month."""
    if subject is None:
        longest = max(series, key=lambda visits: visits["months"].nunique())
        return longest.drop_duplicates("months")
    visits = test[test["participant_id"] == subject].sort_values("months")
    if visits["months"].nunique() < 3:
        raise UserError(
            f"figures.interpolation_subject is {subject}, who has {len(visits)} scan(s) in the "
            "test split; name a test participant with at least three visits, or null."
        )
    return visits.drop_duplicates("months")


def _example(
    system: LdaeSystem, store: VolumeStore, codes: Codes, path: str | Path, cfg: dict[str, Any]
) -> None:
    """All visits of one participant decoded between the first and the last one."""
    visits, steps = codes.visits, cfg["interpolation"]["ddim_steps"]
    months = visits["months"].to_numpy()
    factor = (months - months[0]) / (months[-1] - months[0])
    interpolated = []
    for part in batches(len(months), cfg["batch_size"]):
        first, last = [0] * len(part), [len(months) - 1] * len(part)
        alpha = torch.from_numpy(factor[part])
        interpolated.append(as_arrays(codes.between(system, first, last, alpha, steps)))
    save_arrays(
        path,
        participant_id=visits["participant_id"].iloc[0],
        scan_id=visits["scan_id"],
        months=months,
        factor=factor,
        original=as_arrays(store.volumes(visits["row"].to_numpy())),
        autoencoder=as_arrays(codes.decoded),
        interpolated=np.concatenate(interpolated),
        spacing=store.spacing,
    )
