"""Summary of a target for the table of all targets: discrimination, contrasts, calibration."""

from typing import Any

import numpy as np
import pandas as pd

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Draws
from ldae.evaluation.metrics.calibration import (
    brier,
    calibration_bins,
    calibration_intercept,
    calibration_slope,
    mean_within,
    net_benefit,
)
from ldae.evaluation.probes.scores import COMPARED, Drawn, compared_pairs
from ldae.evaluation.probes.statistics import (
    DISCRIMINATION,
    discrimination,
    positives,
)
from ldae.evaluation.probes.target_table import BINARY, PAPER, Target

FROZEN = "frozen"  # the split that the cohort's subjects have for good
BINS = 10  # of the calibration curve
THRESHOLDS = tuple(k / 20 for k in range(1, 20))  # of the decision curve
CURVE, BENEFIT, TREAT_ALL = "observed", "net_benefit", "treat_all"
# Columns of a target's tables, by the key of their file.
SUMMARY: dict[str, list[str]] = {
    "summary": [
        "target", "label", "kind", "split", "system", "metric", "value", "ci_low", "ci_high",
        "chance", "p", "n_training", "n_scans", "n_subjects", "n_positive", "note",
    ],
    "contrasts": [
        "target", "label", "metric", "system", "reference", "difference", "ci_low", "ci_high",
        "p", "n_scans", "n_subjects",
    ],
    "calibration": [
        "target", "label", "system", "quantity", "at", "value", "ci_low", "ci_high", "n_scans",
    ],
}  # fmt: skip
Rows = dict[str, list[dict[str, Any]]]


def summarise(scored: Drawn, people: int) -> Rows:
    """Rows of a target's tables on the frozen test split, for all systems but the paper's probes.

    Args:
        scored: Predictions of the target, and their scores.
        people: Number of training subjects.

    Returns:
        By key of :data:`SUMMARY`:

        - ``summary``: the score of :data:`~ldae.evaluation.probes.statistics.DISCRIMINATION` with
          its value by chance and a two-sided p for it, and the target's headline;
        - ``contrasts``: differences of the LDAE with every other system in the first of them;
        - ``calibration`` (binary): ``brier``, ``calibration_slope``, ``calibration_intercept``
          (observed less predicted share); points of the calibration curve (``observed`` share where
          ``at`` is the mean probability) and of the decision curve (``net_benefit`` at a threshold;
          ``treat_all`` is the system of treating everybody).
    """
    target, classes, bootstrap = scored.target, scored.classes, scored.bootstrap
    found = {key: frames[0] for key, frames in scored.frames.items() if key[0] != PAPER}
    shown = DISCRIMINATION[target.kind][0]
    drawn: dict[tuple[str, str], Draws] = {}
    rows: Rows = {"summary": [], "contrasts": [], "calibration": []}
    for key, frame in found.items():
        mine = scored.scores[key]
        if shown not in mine:  # the correlation, which has no row among the scores
            mine = mine | {shown: bootstrap.draws(discrimination(target, frame, classes))}
        drawn[key] = mine[shown]
        headline = mine[target.headline] if target.headline != shown else None
        rows["summary"] += summary_rows(target, FROZEN, key[1], drawn[key], headline)
    size = {"n_training": people} | sizes(target, scored.compared, classes)
    rows["summary"] = [row | size for row in rows["summary"]]
    name = {"target": target.name, "label": target.label}
    for probe, system, own in compared_pairs(found):
        gap = drawn[own, COMPARED] - drawn[probe, system]
        rows["contrasts"].append(
            name
            | {"metric": shown, "system": COMPARED, "reference": system}
            | gap.interval().row("difference")
            | {"p": gap.two_sided_p()}
            | bootstrap.counts
        )
    if target.kind == BINARY:
        for (_, system), frame in found.items():
            made = calibration_rows(target, system, frame, classes, bootstrap)
            rows["calibration"] += [name | row for row in made]
    return rows


def summary_rows(
    target: Target, split: str, system: str, shown: Draws, headline: Draws | None
) -> list[dict]:
    """Rows of one system: the discrimination, and the headline where that is another score."""
    metric, chance = DISCRIMINATION[target.kind]
    about = {"target": target.name, "label": target.label, "kind": target.kind}
    about |= {"split": split, "system": system}
    tested = {"chance": chance, "p": shown.two_sided_p(chance)}
    rows = [about | {"metric": metric} | shown.interval().row("value") | tested]
    if headline is not None:
        rows.append(about | {"metric": target.headline} | headline.interval().row("value"))
    return rows


def sizes(target: Target, frame: pd.DataFrame, classes: tuple) -> dict[str, Any]:
    """Numbers of scans, of subjects and of scans of the positive class."""
    positive = positives(target, frame, classes)
    return {
        "n_scans": len(frame),
        "n_subjects": frame["participant_id"].nunique(),
        "n_positive": np.nan if positive is None else int(positive.sum()),
    }


def absent_summary(target: Target, test: pd.DataFrame, note: str, split: str = FROZEN) -> Rows:
    """Rows of a target, or of one split of it, that cannot be probed; ``note`` says why."""
    row = {
        "target": target.name,
        "label": target.label,
        "kind": target.kind,
        "split": split,
        "system": COMPARED,
        "metric": DISCRIMINATION[target.kind][0],
        "n_scans": len(test),
        "n_subjects": test["participant_id"].nunique(),
        "note": note,
    }
    return {"summary": [row], "contrasts": [], "calibration": []}


def calibration_rows(
    target: Target, system: str, frame: pd.DataFrame, classes: tuple, bootstrap: ClusterBootstrap
) -> list[dict]:
    """Calibration and decision curve of one system's probabilities, as :func:`summarise` says."""
    positive = positives(target, frame, classes)
    assert positive is not None  # of a binary target
    probability = frame["probability"].to_numpy(float)
    rows = []

    def add(name: str, quantity: str, at: float, statistic, scans: int) -> None:
        drawn = bootstrap.draws(statistic).interval().row("value")
        about = {"system": name, "quantity": quantity, "at": at}
        rows.append(about | drawn | {"n_scans": scans})

    for quantity, score in (
        ("brier", brier),
        ("calibration_slope", calibration_slope),
        ("calibration_intercept", calibration_intercept),
    ):
        add(system, quantity, np.nan, score(positive, probability), len(frame))
    for inside in calibration_bins(probability, BINS):
        at = float(probability[inside].mean())
        add(system, CURVE, at, mean_within(positive, inside), int(inside.sum()))
    for threshold in THRESHOLDS:
        add(system, BENEFIT, threshold, net_benefit(positive, probability, threshold), len(frame))
        if system == COMPARED:
            everyone = net_benefit(positive, np.ones(len(frame)), threshold)
            add(TREAT_ALL, BENEFIT, threshold, everyone, len(frame))
    return rows
