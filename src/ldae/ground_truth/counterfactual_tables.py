"""Counterfactual tables: means by method, and paired differences with no move or a random one."""

import numpy as np
import pandas as pd

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap
from ldae.systems import metric

KEY = ["direction", "region", "metric"]
VARIANTS = ("plain", "orthogonal", "random")
COMPARED = ("mse", "mse_to_ae", "ssim", "ssim_to_ae", "change_correlation")


def summarise(scans: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Means over scans, with intervals over subjects; scans without a value are left out.

    Args:
        scans: Per-scan table of :func:`ldae.ground_truth.counterfactual.evaluate_counterfactual`.

    Returns:
        direction, method, alpha, region, metric, value, ci_low, ci_high, n_scans, n_subjects.
    """
    rows = []
    names = ["direction", "method", "alpha", "region", "metric"]
    for key, part in scans.dropna(subset="value").groupby(names, sort=False, dropna=False):
        bootstrap = ClusterBootstrap(part["participant_id"], resamples, seed)
        rows.append(
            dict(zip(names, key, strict=True))
            | bootstrap.mean(part["value"]).row("value")
            | bootstrap.counts
        )
    return pd.DataFrame(rows)


def differences(scans: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Paired differences of each variant with no move and with a random move of the same length.

    Args:
        scans: As in :func:`summarise`.

    Returns:
        direction, method (the variant), alpha, reference (none, random), region, metric,
        difference, ci_low, ci_high, n_scans, n_subjects, n_better (number of scans on which the
        variant is nearer to the truth).
    """
    scans = scans[scans["metric"].isin(COMPARED)]
    rows = []
    for key, part in scans.groupby(KEY, sort=False):
        levels = {
            (method, alpha): one.set_index("scan_id")
            for (method, alpha), one in part.groupby(["method", "alpha"], dropna=False)
        }
        unmoved = next(one for (method, _), one in levels.items() if method == "none")
        for (method, alpha), mine in levels.items():
            if method not in VARIANTS:
                continue
            for reference, other in (("none", unmoved), ("random", levels["random", alpha])):
                if reference == method:
                    continue
                first, second = mine["value"], other.loc[mine.index, "value"]
                known = (first - second).dropna()
                if known.empty:
                    continue
                bootstrap = ClusterBootstrap(
                    mine.loc[known.index, "participant_id"], resamples, seed
                )
                rows.append(
                    {"direction": key[0], "method": method, "alpha": alpha, "reference": reference}
                    | {"region": key[1], "metric": key[2]}
                    | bootstrap.mean(known).row("difference")
                    | bootstrap.counts
                    | {"n_better": int(np.sum(metric(key[2]).improves(known)))}
                )
    return pd.DataFrame(rows)
