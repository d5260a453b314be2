"""Tables of the manipulation: means and changes by strength, and how steady each scan's are."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap

MEASURES = (
    "ventricle_ml",
    "hippocampus_ml",
    "ssim_elsewhere",
    "ssim_to_unmanipulated",
    "logit_asked",
    "logit_decoded",
    "age_asked",
    "age_decoded",
    "sex_kept",
)
# The sign of the change that is known to go with Alzheimer's disease.
KNOWN = {"ventricle_ml": 1, "hippocampus_ml": -1, "logit_decoded": 1}


def summarise(scans: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Means of the measures and of their changes from alpha = 0, with intervals over subjects.

    Args:
        scans: Per-scan table of :func:`ldae.evaluation.manipulation.evaluate_manipulation`.

    Returns:
        direction, way, alpha, metric, value, ci_low, ci_high, n_scans, n_subjects.
    """
    rows = []
    for (direction, variant), part in scans.groupby(["direction", "way"], sort=False):
        levels = {alpha: level.set_index("scan_id") for alpha, level in part.groupby("alpha")}
        base = levels[0.0]
        bootstrap = ClusterBootstrap(base["participant_id"], resamples, seed)
        size = {"n_scans": bootstrap.size, "n_subjects": bootstrap.clusters}
        for alpha, level in levels.items():
            for name in MEASURES:
                key = {"direction": direction, "way": variant, "alpha": alpha}
                value, start = level.loc[base.index, name], base[name]
                rows.append(key | {"metric": name} | bootstrap.mean(value).row("value") | size)
                change = bootstrap.difference(value, start).row("value")
                rows.append(key | {"metric": f"change_{name}"} | change | size)
    return pd.DataFrame(rows)


def trends(scans: pd.DataFrame, positive: str, resamples: int, seed: int) -> pd.DataFrame:
    """How steadily each scan changes with alpha, in the sense that is known of the disease.

    Args:
        scans: As in :func:`summarise`.
        positive: The diagnosis that the signs of :data:`KNOWN` belong to (AD).

    Returns:
        direction, way, measure, statistic, value, ci_low, ci_high, n_scans, n_subjects. Statistics,
        each a mean over scans: ``spearman``, rank correlation with alpha, positive where the change
        goes the known way (0 where nothing changes); ``monotone``, share of scans that change the
        known way at every step of alpha; ``known_sign``, share whose change at the largest alpha
        goes the known way.
    """
    rows = []
    for (direction, variant), part in scans.groupby(["direction", "way"], sort=False):
        towards = 1 if direction.endswith(f" to {positive}") else -1
        people = part.drop_duplicates("scan_id").set_index("scan_id")["participant_id"]
        bootstrap = ClusterBootstrap(people, resamples, seed)
        size = {"n_scans": bootstrap.size, "n_subjects": bootstrap.clusters}
        for measure, sign in KNOWN.items():
            wide = part.pivot(index="scan_id", columns="alpha", values=measure).loc[people.index]
            course = towards * sign * wide.to_numpy()
            statistics = {
                "spearman": [_spearman(wide.columns.to_numpy(), one) for one in course],
                "monotone": (np.diff(course, axis=1) > 0).all(axis=1),
                "known_sign": course[:, -1] > course[:, 0],
            }
            for name, values in statistics.items():
                key = {
                    "direction": direction,
                    "way": variant,
                    "measure": measure,
                    "statistic": name,
                }
                rows.append(key | bootstrap.mean(values).row("value") | size)
    return pd.DataFrame(rows)


def _spearman(alphas: np.ndarray, values: np.ndarray) -> float:
    return 0.0 if np.ptp(values) == 0 else float(spearmanr(alphas, values).statistic)


def course(table: pd.DataFrame) -> str:
    """Whether the mean change is monotone over alpha, as a sentence.

    Args:
        table: alpha and value of one change (0 at alpha = 0) in one direction.
    """
    table = table[table["alpha"] != 0].sort_values("alpha")
    alphas, values = np.r_[0, table["alpha"]], np.r_[0, table["value"]]
    steps = np.sign(np.diff(values))
    turns = np.flatnonzero(steps == -steps[np.flatnonzero(steps)[0]]) if steps.any() else []
    if len(turns) == 0:
        return f"The mean change is monotone over α = 0 to {alphas[-1]:g}."
    return (
        f"The mean change is not monotone over α = 0 to {alphas[-1]:g}: it turns back at "
        f"α = {alphas[turns[0]]:g}."
    )
