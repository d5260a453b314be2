"""Plan of the inversions that the experiments need, each listed once, and their network calls.

Experiments share scans: a test scan that is reconstructed is also manipulated, shown, and one of a
participant's visits. Made anew in each experiment, and for each triplet of visits as in the
authors' code, most calls of the network repeat others.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd

from ldae.config import diagnosis_classes
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.solvers import find_solver
from ldae.errors import UserError
from ldae.evaluation.examples import example_scans
from ldae.evaluation.interpolation import shown_visits
from ldae.evaluation.longitudinal import longitudinal_series
from ldae.evaluation.solver_study import first_middle_last
from ldae.evaluation.test_scans import spread_over_subjects
from ldae.inference.code_store import Inversion

log = logging.getLogger(__name__)


def planned_inversions(
    test: pd.DataFrame,
    cfg: Mapping[str, Any],
    subjects: Mapping[str, str | None],
    interpolation_subject: str | None,
) -> dict[Inversion, list[str]]:
    """Scans of every kind of inversion, each scan once, by scan_id.

    Args:
        test: Test rows of the volume store's index.
        cfg: Section ``evaluation``.
        subjects, interpolation_subject: ``figures.subjects`` and ``figures.interpolation_subject``.

    Returns:
        Those of reconstruction, manipulation, interpolation, examples and the study of solvers, as
        far as the cohort allows them: interpolation needs participants with enough visits.
    """
    wanted: dict[Inversion, set[str]] = {}

    def want(scans: pd.DataFrame, settings: Iterable[Inversion]) -> None:
        for inversion in settings:
            wanted.setdefault(inversion, set()).update(scans["scan_id"])

    moved, between, study = cfg["manipulation"], cfg["interpolation"], cfg["solver_study"]
    reconstructed = spread_over_subjects(test, cfg["max_scans"])
    guided = [Inversion(cfg["solver"], steps, True) for steps in cfg["ddim_steps"]]
    want(reconstructed, guided)
    want(reconstructed, [inversion._replace(guided=False) for inversion in guided])
    manipulation = Inversion(moved["solver"], moved["ddim_steps"], True)
    for name in diagnosis_classes(cfg):
        of_class = spread_over_subjects(test[test["diagnosis"] == name], moved["max_scans"])
        want(of_class, [manipulation])
    settings = [Inversion(s, T, True) for s in study["solvers"] for T in study["ddim_steps"]]
    want(spread_over_subjects(test, study["max_scans"]), settings)
    # An experiment that the cohort does not allow says so itself, and stops no other.
    with suppress(UserError):
        shown = example_scans(test, dict(subjects))
        want(shown, [max(guided, key=lambda inversion: inversion.steps), manipulation])
    with suppress(UserError):
        series = longitudinal_series(test, between["min_visits"], between["subjects"])
        visits = pd.concat([*series, shown_visits(test, series, interpolation_subject)])
        want(visits, [Inversion(between["solver"], between["ddim_steps"], True)])
    with suppress(UserError):
        trios = longitudinal_series(test, between["min_visits"], study["subjects"])
        want(pd.concat([first_middle_last(each).iloc[::2] for each in trios]), settings)
    return {inversion: sorted(scans) for inversion, scans in sorted(wanted.items())}


def plan_of_store(
    store: VolumeStore,
    cfg: Mapping[str, Any],
    subjects: Mapping[str, str | None],
    interpolation_subject: str | None,
) -> dict[Inversion, list[str]]:
    """As :func:`planned_inversions`, of a volume store's test split; logs the network calls."""
    test = store.index.loc[store.rows("test")]
    wanted = planned_inversions(test, cfg, subjects, interpolation_subject)
    log.info(
        "%d inversions in %d ways: %d network calls",
        sum(map(len, wanted.values())),
        len(wanted),
        inversion_calls(wanted),
    )
    return wanted


def inversion_calls(wanted: Mapping[Inversion, Sequence[str]]) -> int:
    """Calls of the network that the planned inversions take, one scan a call."""
    return sum(
        len(scans) * find_solver(inversion.solver).calls(inversion.steps)[0]
        for inversion, scans in wanted.items()
    )
