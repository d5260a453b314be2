"""Tables of interpolated and extrapolated visits: by gap and position, and against baselines."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from ldae.evaluation.correction import METHOD
from ldae.evaluation.longitudinal import MEASURED
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap
from ldae.systems import metric

METHODS = ("ldae", METHOD, "nearest_visit", "voxel_average", "latent_lerp")
VOLUME_ERRORS = tuple(f"{region}_error" for region in MEASURED)
METRICS = ("ssim_to_ae", "mse_to_ae", "ssim", "ssim_brain", "mse", *VOLUME_ERRORS)
POSITIONS = (0.2, 0.4, 0.6, 0.8)  # inner edges of five classes of alpha; 0.5 is in the middle class


def interpolation_groups(triplets: pd.DataFrame) -> dict[str, pd.Series]:
    """Label of each interpolated visit, by grouping. Gaps stay numbers (months), to sort so."""
    edges = (0.0, *POSITIONS, 1.0)
    labels = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    position = np.digitize(triplets["alpha"].round(9), POSITIONS)
    return {
        "overall": pd.Series("all", index=triplets.index),
        "prediction_gap": triplets["prediction_gap"],
        "time_gap": triplets["time_gap"],
        "relative_position": pd.Series(np.array(labels)[position], index=triplets.index),
    }


def extrapolation_groups(triplets: pd.DataFrame) -> dict[str, pd.Series]:
    """Label of each extrapolated visit, by grouping."""
    return {
        "overall": pd.Series("all", index=triplets.index),
        "horizon": triplets["horizon"],
        "time_gap": triplets["time_gap"],
    }


def summary_table(
    triplets: pd.DataFrame,
    groups: dict[str, pd.Series],
    methods: Sequence[str],
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Means by group and method, with intervals over subjects (nan for a single subject).

    Args:
        triplets: Per-triplet table of
            :func:`ldae.evaluation.interpolation.evaluate_interpolation`.
        groups: Label of each row, by name of the grouping.
        methods: Methods, in the order of the table.

    Returns:
        grouping, group, method, metric, value, ci_low, ci_high, n_triplets, n_subjects.
    """
    rows = []
    for grouping, labels in groups.items():
        for group, part in triplets.groupby(labels):
            for method in methods:
                mine = part[part["method"] == method]
                bootstrap = ClusterBootstrap(mine["participant_id"], resamples, seed)
                for name in METRICS:
                    rows.append(
                        {"grouping": grouping, "group": group, "method": method, "metric": name}
                        | bootstrap.mean(mine[name]).row("value")
                        | {"n_triplets": bootstrap.size, "n_subjects": bootstrap.clusters}
                    )
    return pd.DataFrame(rows)


def difference_table(
    triplets: pd.DataFrame, methods: Sequence[str], resamples: int, seed: int
) -> pd.DataFrame:
    """Paired differences of the first of ``methods`` with each other one, over all triplets.

    Returns:
        method, reference, metric, difference, ci_low, ci_high, n_triplets, n_subjects, n_better
        (number of triplets on which the method is better: higher SSIM, lower MSE).
    """
    key = ["participant_id", "start", "target", "end"]
    tables = {name: part.set_index(key) for name, part in triplets.groupby("method")}
    ours = tables[methods[0]]
    bootstrap = ClusterBootstrap(ours.index.get_level_values(0), resamples, seed)
    rows = []
    for reference in methods[1:]:
        other = tables[reference].loc[ours.index]
        for name in METRICS:
            difference = ours[name].to_numpy() - other[name].to_numpy()
            rows.append(
                {"method": methods[0], "reference": reference, "metric": name}
                | bootstrap.mean(difference).row("difference")
                | {"n_triplets": bootstrap.size, "n_subjects": bootstrap.clusters}
                | {"n_better": int(metric(name).improves(difference).sum())}
            )
    return pd.DataFrame(rows)


def differences_of_both(
    triplets: pd.DataFrame, methods: Sequence[str], resamples: int, seed: int
) -> pd.DataFrame:
    """As :func:`difference_table`: of the LDAE with the baselines, then of the corrected average.

    The corrected average, which the LDAE itself is not compared with, is compared with all.
    """
    ours, *others = (name for name in methods if name != METHOD)
    tables = [
        difference_table(triplets, (first, *rest), resamples, seed)
        for first, rest in ((ours, others), (METHOD, (ours, *others)))
    ]
    return pd.concat(tables, ignore_index=True)
