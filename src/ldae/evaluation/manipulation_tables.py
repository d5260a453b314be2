"""Manipulation tables: means and changes by strength (alpha), and trends of single scans."""

import numpy as np
import pandas as pd

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
# Sign of the change that is known from Alzheimer's disease.
EXPECTED_SIGN = {"ventricle_ml": 1, "hippocampus_ml": -1, "logit_decoded": 1}


def summarise(scans: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Means of the measures and of their changes from alpha = 0, with intervals over subjects.

    Args:
        scans: Per-scan table of :func:`ldae.evaluation.manipulation.evaluate_manipulation`.

    Returns:
        direction, way (the variant), alpha, metric, value, ci_low, ci_high, n_scans, n_subjects.
    """
    rows = []
    for (direction, variant), part in scans.groupby(["direction", "way"], sort=False):
        levels = {alpha: level.set_index("scan_id") for alpha, level in part.groupby("alpha")}
        base = levels[0.0]
        bootstrap = ClusterBootstrap(base["participant_id"], resamples, seed)
        size = bootstrap.counts
        for alpha, level in levels.items():
            for name in MEASURES:
                key = {"direction": direction, "way": variant, "alpha": alpha}
                value, start = level.loc[base.index, name], base[name]
                rows.append(key | {"metric": name} | bootstrap.mean(value).row("value") | size)
                change = bootstrap.difference(value, start).row("value")
                rows.append(key | {"metric": f"change_{name}"} | change | size)
    return pd.DataFrame(rows)


def trends(scans: pd.DataFrame, positive: str, resamples: int, seed: int) -> pd.DataFrame:
    """Trends of single scans over alpha, compared with the known changes of the disease.

    The expected sign of a measure is that of :data:`EXPECTED_SIGN` towards ``positive``, and the
    opposite one away from it.

    Args:
        scans: As in :func:`summarise`.
        positive: The diagnosis that the signs of :data:`EXPECTED_SIGN` belong to (AD).

    Returns:
        direction, way (the variant), measure, statistic, value, ci_low, ci_high, n_scans,
        n_subjects. Each statistic is a mean over scans: ``spearman``, the rank correlation with
        alpha, positive for the expected sign (0 where nothing changes); ``monotone``, the fraction
        of scans that change with the expected sign at every step of alpha; ``known_sign``, the
        fraction whose change at the largest alpha has the expected sign.
    """
    rows = []
    for (direction, variant), part in scans.groupby(["direction", "way"], sort=False):
        towards = 1 if direction.endswith(f" to {positive}") else -1
        people = part.drop_duplicates("scan_id").set_index("scan_id")["participant_id"]
        bootstrap = ClusterBootstrap(people, resamples, seed)
        size = bootstrap.counts
        for measure, sign in EXPECTED_SIGN.items():
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
    from scipy.stats import spearmanr  # not above: figure and report take only a sentence from here

    return 0.0 if np.ptp(values) == 0 else float(spearmanr(alphas, values).statistic)


def monotonicity_sentence(table: pd.DataFrame) -> str:
    """State in a sentence whether the mean change is monotone over alpha.

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
