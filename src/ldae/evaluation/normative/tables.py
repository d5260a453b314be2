"""Table of the normative view: calibration on held-out people, and deviations of the patients.

Each person counts once: their scans are averaged, and people are resampled.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, unpaired_difference, weighted_mean
from ldae.evaluation.normative.curves import NormativeCurves
from ldae.seeds import derive_seed

BELOW, DEVIATION, GAP = "below", "deviation", "deviation_difference"
TABLE = [
    "measure", "diagnosis", "reference", "quantity", "centile", "expected", "value", "ci_low",
    "ci_high", "n_scans", "n_subjects", "n_outside", "fitted_subjects", "note",
]  # fmt: skip


def normative_table(
    curves: NormativeCurves,
    people: pd.DataFrame,
    classes: Sequence[str],
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """The table, columns :data:`TABLE`.

    Quantities: ``below``, the share of people below a fitted centile (``expected`` of the people
    that the curves are of); ``deviation``, the mean of z; ``deviation_difference``, that of the
    positive class less that of the negative one. ``n_outside``: scans whose age lies outside the
    range of the curves; they are in no other number. A row with a note alone says why there are
    no curves, or none of some measures.

    Args:
        curves: The curves.
        people: Test scans by measure: participant_id, diagnosis, measure, deviation.
        classes: Negative and positive class.
        resamples: Number of resamples of people.
        seed: Their seed.
    """
    rows = []
    marks = ndtri(np.array(curves.centiles) / 100)
    for measure in curves.coefficients:
        mine = people[people["measure"] == measure]
        groups = {name: _Group(mine, name, resamples, seed) for name in classes}
        for name, group in groups.items():
            about = {"measure": measure, "diagnosis": name} | group.counts
            if not len(group.scans):
                rows.append(about | {"note": f"no test scan of {name} in the range of ages"})
                continue
            for centile, mark in zip(curves.centiles, marks, strict=True):
                share = group.bootstrap.mean(group.means(group.scans["deviation"] < mark))
                expected = centile / 100 if name == classes[0] else np.nan
                key = {"quantity": BELOW, "centile": centile, "expected": expected}
                rows.append(about | key | share.row("value"))
            mean = group.bootstrap.mean(group.means(group.scans["deviation"]))
            expected = 0.0 if name == classes[0] else np.nan
            rows.append(about | {"quantity": DEVIATION, "expected": expected} | mean.row("value"))
        healthy, ill = (groups[name] for name in classes)
        if len(healthy.scans) and len(ill.scans):
            statistics = [
                weighted_mean(one.means(one.scans["deviation"])) for one in (ill, healthy)
            ]
            gap = unpaired_difference(
                ill.bootstrap, statistics[0], healthy.bootstrap, statistics[1]
            )
            key = {"measure": measure, "diagnosis": classes[1], "reference": classes[0]}
            rows.append(key | {"quantity": GAP} | ill.counts | gap.row("value"))
    if curves.note:
        rows.append({"note": curves.note})
    table = pd.DataFrame(rows, columns=TABLE)
    table["fitted_subjects"] = curves.counts["subjects"]
    whole = ["n_scans", "n_subjects", "n_outside", "fitted_subjects"]
    return table.astype(dict.fromkeys(whole, "Int64"))


class _Group:
    """Test people of one class: their scans within the range of ages, and resamples of them."""

    def __init__(self, rows: pd.DataFrame, name: str, resamples: int, seed: int):
        mine = rows[rows["diagnosis"] == name]
        self.scans = mine[mine["deviation"].notna()]
        self.outside = len(mine) - len(self.scans)
        people = sorted(set(self.scans["participant_id"]))
        self.people = len(people)
        draws = derive_seed(seed, "normative", name)
        self.bootstrap = ClusterBootstrap(people, resamples, draws) if people else None

    @property
    def counts(self) -> dict[str, int]:
        return {
            "n_scans": len(self.scans), "n_subjects": self.people, "n_outside": self.outside,
        }  # fmt: skip

    def means(self, values: pd.Series) -> np.ndarray:
        """Mean of a value of each scan for each person, by participant_id."""
        means = values.astype(float).groupby(self.scans["participant_id"]).mean()
        return means.sort_index().to_numpy()
