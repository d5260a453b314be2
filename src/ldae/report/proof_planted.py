"""Thresholds of the proof on planted labels and sites: found as they must be, or refused.

They test the evaluation and its intervals. What must be found is known, whatever the models learnt.
"""

import math

import pandas as pd

from ldae.ground_truth.planted_relations import EVEN, NOISE, RELATED, SIZES, SKEWED
from ldae.labels import number
from ldae.report.proof_thresholds import Threshold, numbers_of
from ldae.report.tables.table import row_of
from ldae.systems import metric

TARGETS = "Planted targets: labels made of the truth, and pure noise"
SITES = "Planted sites: a shift of known size in y_sem"
PLANTED = (TARGETS, SITES)
# What stands above the thresholds of a group.
ABOUT = {
    TARGETS: (
        "The best possible is the score of the noiseless truth. Expected of y_sem is the score of "
        "its reading of that truth (a probe of the truth itself). Both are means over redraws of "
        "the label's noise."
    ),
    SITES: (
        "At the even site a coin decides, at the skewed one 3 of 10 healthy people and 7 of 10 "
        "with AD are at site B. Codes of site B are moved by so many SDs of the code along the "
        "shift: of normal codes the best linear reader tells the site with a balanced accuracy of "
        "0.50, 0.69 and 0.84."
    ),
}
ALPHA = 0.05
SHARE = (0.01, 0.10)  # of the p values of pure noise that are below 0.05; 200 draws
UNIFORM = 0.01  # least p of Kolmogorov and Smirnov's test that they are uniform
COST = 0.02  # most that harmonising an even site may change the diagnosis' AUROC
NEAR = 0.1  # most that the association found may differ from the planted one


def planted_thresholds(table: pd.DataFrame) -> list[Threshold]:
    """Thresholds on the planted truths of one run, in the order of the page.

    Args:
        table: ``planted.tsv`` (:func:`ldae.ground_truth.planted.evaluate_planted`).
    """
    return [*_targets(table), *_noise(table), *_sites(table), *_confounding(table)]


def _beside(
    group: str, text: str, criterion: str, row: pd.Series | None, of: str | None, met: bool
) -> Threshold:
    """A threshold on the value of a row less its column ``of``; None: on the value itself."""
    known = 0.0 if row is None or of is None else float(row[of])
    value, low, high = (one - known for one in numbers_of(row, "value"))
    return Threshold(group, text, criterion, value, low, high, met)


def holds(row: pd.Series | None, column: str) -> bool:
    """Whether the interval of a row holds the value of another of its columns."""
    return row is not None and bool(row["ci_low"] <= row[column] <= row["ci_high"])


def _targets(table: pd.DataFrame) -> list[Threshold]:
    found = []
    for name, (_, _, relation) in RELATED.items():
        oracle, own = (
            row_of(table, part="target", planted=name, system=system)
            for system in ("oracle", "ldae")
        )
        score = "score" if own is None else metric(own["metric"]).label
        best = "" if oracle is None else f" ({number(float(oracle['expected']))})"
        what = f"{name.removeprefix('planted_')} ({relation}): {score}"
        above = own is not None and bool(own["ci_low"] > own["chance"] and own["p_holm"] < ALPHA)
        found += [
            _beside(
                TARGETS,
                f"{what} by the true volumes less the best possible{best}",
                "interval holds 0",
                oracle,
                "expected",
                holds(oracle, "expected"),
            ),
            _beside(
                TARGETS,
                f"{what} by y_sem less what is expected of it",
                "interval holds 0",
                own,
                "expected",
                holds(own, "expected"),
            ),
            _beside(
                TARGETS,
                f"{what} by y_sem less chance",
                "interval above 0, p (Holm) below 0.05",
                own,
                "chance",
                above,
            ),
        ]
    return found


def _noise(table: pd.DataFrame) -> list[Threshold]:
    found = []
    for name, (_, _, relation) in NOISE.items():
        rows = table[(table["part"] == "noise") & (table["planted"] == name)]
        own = row_of(rows, system="ldae")
        what = f"{name.removeprefix('planted_')} ({relation})"
        refused = holds(own, "chance") and bool(own["p_holm"] >= ALPHA)  # type: ignore[index]
        criterion = "interval holds 0, p (Holm) at least 0.05"
        score = "score" if own is None else metric(own["metric"]).label
        text = f"{what}: {score} by y_sem less chance"
        found.append(_beside(TARGETS, text, criterion, own, "chance", refused))
        least = float(rows["p_holm"].min()) if len(rows) else math.nan
        text = f"{what}: least p (Holm) of all systems"
        found.append(
            Threshold(TARGETS, text, "at least 0.05", least, math.nan, math.nan, least >= ALPHA)
        )
        null = row_of(table, part="null", planted=name)
        met = null is not None and bool(
            SHARE[0] <= null["value"] <= SHARE[1] and null["p"] >= UNIFORM
        )
        found.append(
            _beside(
                TARGETS,
                f"{what}, drawn anew 200 times: share of p values of y_sem below 0.05",
                f"{SHARE[0]:g} to {SHARE[1]:g}, and uniform (p at least {UNIFORM:g})",
                null,
                None,
                met,
            )
        )
    return found


def _sites(table: pd.DataFrame) -> list[Threshold]:
    own = table[(table["system"] == "ldae") & (table["planted"] == EVEN)]
    found = []
    for size in SIZES:
        row = row_of(own, part="site", size=size)
        text = (
            f"even site, {size:g} SD: balanced accuracy less that of a reader who knows the shift"
        )
        criterion = "interval holds 0"
        found.append(_beside(SITES, text, criterion, row, "expected", holds(row, "expected")))
    for size in filter(None, SIZES):
        row = row_of(own, part="harmonised", size=size)
        gone = row is not None and bool(row["ci_low"] <= row["expected"])
        text = f"even site, {size:g} SD, after ComBat: balanced accuracy"
        found.append(_beside(SITES, text, "interval not above 0.5", row, None, gone))
    for size in filter(None, SIZES):
        row = row_of(own, part="diagnosis", size=size)
        kept = row is not None and bool(row["ci_low"] > -COST and row["ci_high"] < COST)
        text = f"even site, {size:g} SD, after ComBat: AUROC of AD/CN less without site"
        found.append(_beside(SITES, text, f"interval within ±{COST:g}", row, None, kept))
    return found


def _confounding(table: pd.DataFrame) -> list[Threshold]:
    found = []
    for column, flag in ((EVEN, "no"), (SKEWED, "yes")):
        row = row_of(table, part="confounding", planted=column)
        known = "" if row is None else f", planted {number(float(row['expected']), 2)}"
        met = row is not None and bool(
            row["flag"] == flag and abs(row["value"] - row["expected"]) <= NEAR
        )
        flagged = "flagged" if flag == "yes" else "not flagged"
        text = f"{column} site: Cramér's V with AD/CN{known}"
        found.append(_beside(SITES, text, f"{flagged}, and within {NEAR:g} of it", row, None, met))
    return found
