"""Corrections of averaged visits for this run's models, chosen on validation participants."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.ageing import Ageing
from ldae.evaluation.correction import (
    Averages,
    Correction,
    correction_calls,
    forecast_averages,
    missing_averages,
)
from ldae.evaluation.correction_choice import choose
from ldae.evaluation.extrapolation import next_visits, visits_so_far
from ldae.evaluation.longitudinal import Triplet, Visits, triplets, visit_series
from ldae.evaluation.test_scans import evenly_spaced
from ldae.inference.ldae_system import LdaeSystem


class Corrections(NamedTuple):
    """The chosen corrections, and the table of all that were tried."""

    interpolation: Correction
    extrapolation: Correction
    table: pd.DataFrame

    def calls(self, solver: str, steps: int) -> int:
        """Network calls that the choice took, one person a call."""
        total = 0
        for _, tried in self.table.groupby("study"):
            rows = tried[list(Correction._fields)].itertuples(index=False)
            corrections = [Correction(*row) for row in rows]
            people = int(tried["n_subjects"].iloc[0])
            total += people * correction_calls(corrections, solver, steps)
        return total


def choose_corrections(
    system: LdaeSystem,
    store: VolumeStore,
    embeddings: str | Path,
    ageing: Ageing,
    settings: Mapping[str, Any],
    batch_size: int,
) -> Corrections:
    """Choose on the validation split, where each participant gives one prediction a study.

    The missing visit is that nearest to halfway between the participant's first and last; the next
    one is the last.

    Args:
        system: The trained models, with the solver of the study.
        store: The volume store.
        embeddings: y_sem of all scans by the LDAE's encoder.
        ageing: Change per year of the training people.
        settings: ``evaluation.interpolation``; at most ``subjects`` participants are used.
        batch_size: Predictions at a time.
    """
    validation = store.index.loc[store.rows("val")]
    series = visit_series(validation, settings["min_visits"])
    series = [series[i] for i in evenly_spaced(len(series), settings["subjects"])]
    visits, between, after = None, [], []
    if series:
        steps = settings["ddim_steps"]
        visits = Visits(system, store, embeddings, pd.concat(series), steps, batch_size)
        between, after = _predictions(visits, ageing, batch_size)
    given, last = settings["correction"], system.schedule.timesteps - 1
    missing, tried = choose("interpolation", visits, between, given, last)
    ahead, tried_ahead = choose("extrapolation", visits, after, given, last)
    return Corrections(missing, ahead, pd.concat([tried, tried_ahead], ignore_index=True))


def _predictions(
    visits: Visits, ageing: Ageing, size: int
) -> tuple[list[Averages], list[Averages]]:
    """A missing and a next visit of every participant, in batches of ``size``."""
    middles: list[Triplet] = []
    targets: list[int] = []
    for _, rows in visits.visits.groupby("participant_id", sort=False):
        months, first = rows["months"].tolist(), int(rows.index[0])
        middles.append(min(triplets(months, first), key=_from_halfway_of_all))
        targets.append(next_visits(months, first)[-1][-1])
    between, after = [], []
    for part in batches(len(middles), size):
        chosen = [middles[i] for i in part]
        start, target, end = (
            list(places) for places in zip(*(t.places for t in chosen), strict=True)
        )
        alpha = torch.tensor([t.alpha for t in chosen], dtype=torch.float64)
        between.append(missing_averages(visits, start, end, alpha, target))
        next_ones = [targets[i] for i in part]
        known = [visits_so_far(visits, place) for place in next_ones]
        after.append(forecast_averages(visits, known, next_ones, ageing))
    return between, after


def _from_halfway_of_all(triplet: Triplet) -> tuple[int, float]:
    """Order of the triplets of one participant: the longest first, then the nearest to halfway."""
    start, _, end = triplet.months
    return start - end, abs(triplet.alpha - 0.5)
