"""Interpolation of missing visits from an earlier and a later one (Figures 8 and 9).

Sections 3.8 and 5.5 of the paper. Later visits are also extrapolated from two earlier ones
(:mod:`ldae.evaluation.extrapolation`).
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.diffusion.interpolation import lerp
from ldae.errors import UserError
from ldae.evaluation import correction, extrapolation
from ldae.evaluation.ageing import measure_ageing
from ldae.evaluation.correction import Correction
from ldae.evaluation.examples import as_arrays
from ldae.evaluation.interpolation_tables import (
    METHODS,
    differences_of_both,
    extrapolation_groups,
    interpolation_groups,
    summary_table,
)
from ldae.evaluation.longitudinal import (
    Triplet,
    VisitCodes,
    interpolation_calls,
    longitudinal_series,
    triplets,
)
from ldae.evaluation.visit_correction import choose_corrections
from ldae.files import save_arrays, write_table
from ldae.inference.ldae_system import LdaeSystem
from ldae.progress import Progress
from ldae.ssim import ssim_window

log = logging.getLogger(__name__)


def predictions(
    codes: VisitCodes, chosen: list[Triplet], corrected: Correction | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Predict the target volumes (B, 1, X, Y, Z) by every method of :data:`METHODS`.

    ``ldae`` is :meth:`VisitCodes.between`. Three baselines stay within the autoencoder's output
    space:
    ``nearest_visit``, ``voxel_average`` (weights 1 - alpha, alpha), and ``latent_lerp`` (of z_0).
    ``ldae_corrected``, which is left out without a correction, is ``latent_lerp`` with the code of
    its image moved to the LERP of y_sem (:mod:`ldae.evaluation.correction`).
    """
    start, end = [t.places[0] for t in chosen], [t.places[2] for t in chosen]
    alpha = torch.tensor([t.alpha for t in chosen], dtype=torch.float64)
    system, move = codes.system, codes.system.compute.move
    yield "ldae", codes.between(start, end, alpha)
    yield "nearest_visit", move(codes.decoded[[t.nearest for t in chosen]])
    yield "voxel_average", move(lerp(codes.decoded[start], codes.decoded[end], alpha))
    yield "latent_lerp", system.image(move(lerp(codes.z_0[start], codes.z_0[end], alpha)))
    if corrected is not None:
        targets = [t.places[1] for t in chosen]
        averages = correction.missing_averages(codes, start, end, alpha, targets)
        images = correction.corrected_images(system, averages, [corrected], codes.steps)
        yield correction.METHOD, images[0]


def evaluate_interpolation(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    latents: str | Path,
    outputs: dict[str, str | Path],
    cfg: dict[str, Any],
    subject: str | None,
    seed: int,
) -> None:
    """Predict visits of test participants from others and compare them with the real ones.

    Every visit between two others is interpolated from them. Every visit after two others is
    extrapolated from the two just before it, or from all before it. Corrections of averages are
    chosen on validation participants.

    Args:
        system, volumes, embeddings: As in
            :func:`ldae.evaluation.reconstruction.evaluate_reconstruction`.
        latents: Folder of the latent store, for the training people's change per year.
        outputs: Paths to write, by name.
            ``triplets``, per-triplet table: participant_id, start, target, end (months), alpha,
            prediction_gap (months to the nearer end), time_gap (months between the ends), method,
            the metrics of :meth:`VisitCodes.compare` and ssim_window.
            ``table``: grouping (overall, prediction_gap, time_gap, relative_position), group,
            method, metric, value, ci_low, ci_high, n_triplets, n_subjects.
            ``differences``: paired differences of the LDAE, and of the corrected average, with
            every baseline, overall.
            ``extrapolation_triplets``, ``extrapolation``, ``extrapolation_differences``: the same
            three tables for :func:`ldae.evaluation.extrapolation.extrapolate`; groupings overall,
            horizon, time_gap.
            ``correction``: the corrections tried on validation participants, and those chosen
            (:func:`ldae.evaluation.correction_choice.choose`).
            ``example``: npz of the example (Figure 9): participant_id, scan_id, months, factor
            (V,), original, autoencoder, interpolated (V, X, Y, Z), the same of every baseline by
            its name (but not the corrected average), spacing. All V visits are predicted from the
            first and the last, which are decoded from their own codes (factors 0 and 1).
        cfg: Section ``evaluation`` (``interpolation``, ``batch_size``, ``bootstrap``).
        subject: ``figures.interpolation_subject``; None: the participant with most visits.
        seed: Seed of the resamples.

    Raises:
        UserError: no test participant has enough visits, or ``subject`` has fewer than three.
    """
    settings = cfg["interpolation"]
    system = system.with_solver(settings["solver"])
    store = system.volume_store(volumes)
    test = store.index.loc[store.rows("test")]
    series = longitudinal_series(test, settings["min_visits"], settings["subjects"])
    shown = shown_visits(test, series, subject)
    evaluated = pd.concat(series)
    example_only = shown[~shown["scan_id"].isin(evaluated["scan_id"])]
    visits = pd.concat([evaluated, example_only]).sort_values(
        ["participant_id", "months"], kind="stable"
    )
    size, resamples = cfg["batch_size"], cfg["bootstrap"]
    codes = VisitCodes(system, store, embeddings, visits, settings["ddim_steps"], size)
    known = codes.visits["participant_id"].isin(evaluated["participant_id"])
    all_triplets: list[Triplet] = []
    for _, rows in codes.visits[known].groupby("participant_id", sort=False):
        all_triplets += triplets(rows["months"].tolist(), int(rows.index[0]))
    ageing = measure_ageing(system, latents, embeddings)
    chosen = choose_corrections(system, store, embeddings, ageing, settings, size)
    write_table(chosen.table, outputs["correction"])
    how = (settings["solver"], settings["ddim_steps"])
    calls = interpolation_calls(
        0 if system.codes else len(codes.visits),
        len(all_triplets),
        *how,
        corrected=correction.correction_calls([chosen.interpolation], *how),
        choice=chosen.calls(*how),
    )
    log.info(
        "%d triplets of visits, without the extrapolation: %s", len(all_triplets), calls.described
    )
    tables = {"": _interpolate(codes, all_triplets, size, chosen.interpolation)}
    extrapolated = extrapolation.extrapolate(codes, size, ageing, chosen.extrapolation)
    tables["extrapolation_"] = extrapolated[
        extrapolated["participant_id"].isin(evaluated["participant_id"])
    ]
    for kind, found in tables.items():
        write_table(found.assign(ssim_window=ssim_window(store.shape)), outputs[f"{kind}triplets"])
        groups = extrapolation_groups(found) if kind else interpolation_groups(found)
        methods = extrapolation.METHODS if kind else METHODS
        summary = summary_table(found, groups, methods, resamples, seed)
        write_table(summary, outputs["extrapolation" if kind else "table"])
        paired = differences_of_both(found, methods, resamples, seed)
        write_table(paired, outputs[f"{kind}differences"])
    places = codes.visits.index[codes.visits["scan_id"].isin(shown["scan_id"])]
    _example(codes, places.tolist(), outputs["example"], size)


def _interpolate(
    codes: VisitCodes, all_triplets: list[Triplet], size: int, corrected: Correction
) -> pd.DataFrame:
    """Per-triplet table of all methods, in batches of ``size`` triplets."""
    frames = []
    progress = Progress("interpolation", len(all_triplets))
    for part in batches(len(all_triplets), size):
        chosen = [all_triplets[i] for i in part]
        months = np.array([t.months for t in chosen])
        targets = [t.places[1] for t in chosen]
        known = pd.DataFrame(months, columns=["start", "target", "end"])
        known.insert(0, "participant_id", codes.visits["participant_id"].to_numpy()[targets])
        known["alpha"] = [t.alpha for t in chosen]
        known["prediction_gap"] = np.minimum(
            months[:, 1] - months[:, 0], months[:, 2] - months[:, 1]
        )
        known["time_gap"] = months[:, 2] - months[:, 0]
        for method, image in predictions(codes, chosen, corrected):
            frames.append(known.assign(method=method, **codes.compare(targets, image)))
        progress.step(int(part[-1]) + 1)
    key = ["participant_id", "start", "target", "end"]
    return pd.concat(frames).sort_values(key, kind="stable", ignore_index=True)


def shown_visits(
    test: pd.DataFrame, series: list[pd.DataFrame], subject: str | None
) -> pd.DataFrame:
    """Visits of the example participant, at most one per month."""
    if subject is None:
        longest = max(series, key=lambda visits: visits["months"].nunique())
        return longest.drop_duplicates("months")
    visits = test[test["participant_id"] == subject].sort_values("months")
    if visits["months"].nunique() < 3:
        raise UserError(
            f"figures.interpolation_subject is {subject}, who has scans at "
            f"{visits['months'].nunique()} visit(s) in the test split; name a test participant "
            "with at least three visits, or null."
        )
    return visits.drop_duplicates("months")


def _example(codes: VisitCodes, places: list[int], path: str | Path, size: int) -> None:
    """Write all visits of one participant, predicted from the first and the last one."""
    visits = codes.visits.iloc[places]
    months = visits["months"].to_numpy()
    first, last = months[0], months[-1]
    wanted = [
        Triplet((places[0], place, places[-1]), (first, month, last))
        for place, month in zip(places, months, strict=True)
    ]
    shown = [method for method in METHODS if method != correction.METHOD]
    predicted: dict[str, list[np.ndarray]] = {method: [] for method in shown}
    for part in batches(len(wanted), size):
        for method, image in predictions(codes, [wanted[i] for i in part]):
            predicted[method].append(as_arrays(image))
    arrays = {method: np.concatenate(parts) for method, parts in predicted.items()}
    save_arrays(
        path,
        participant_id=visits["participant_id"].iloc[0],
        scan_id=visits["scan_id"],
        months=months,
        factor=(months - first) / (last - first),
        original=as_arrays(codes.original(places)),
        autoencoder=as_arrays(codes.decoded[places]),
        interpolated=arrays.pop("ldae"),
        spacing=codes.store.spacing,
        **arrays,
    )
