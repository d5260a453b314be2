"""Tables of saliency: regions, attention by slice, and the checks, with intervals over subjects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Interval
from ldae.evaluation.saliency.random_weights import TRAINED

MEASURES = ("share", "concentration", "logit")
SCAN = ["scan_id", "participant_id", "diagnosis"]


def region_table(totals: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Share of the attribution in each region, by class and method.

    Args:
        totals: A row a scan, method and region: scan_id, participant_id, diagnosis, method, set,
            region; size (sum of the attribution's size), part (sum with its sign) and voxels of the
            brain in the region; whole and whole_voxels, size and voxels of the whole brain.
        resamples, seed: Of the bootstrap over subjects.

    Returns:
        diagnosis, method, set, region, measure, value, ci_low, ci_high, n_scans, n_subjects.
        Measures: ``share`` of the size of the brain's attribution; ``concentration``, this share
        over the region's share of the brain's volume (1: no more than its volume); ``logit``, the
        part of the logit that the region adds.
    """
    share, volume = totals["size"] / totals["whole"], totals["voxels"] / totals["whole_voxels"]
    totals = totals.assign(
        share=share, concentration=share / volume.where(volume > 0), logit=totals["part"]
    )
    rows = []
    keys = ["diagnosis", "method", "set", "region"]
    for key, part in totals.groupby(keys, sort=False):
        bootstrap = ClusterBootstrap(part["participant_id"], resamples, seed)
        for measure in MEASURES:
            about = dict(zip(keys, key, strict=True)) | {"measure": measure}
            rows.append(about | _row(bootstrap, bootstrap.mean(part[measure])))
    return pd.DataFrame(rows)


def attention_table(
    scans: pd.DataFrame,
    weights: dict[str, np.ndarray],
    positions: Sequence[float],
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Attention weight of every slice, by class.

    Args:
        scans: scan_id, participant_id and diagnosis of N scans.
        weights: Kind (``summary``, ``heads``) to weights (N, L).
        positions: mm in template space of the L slices.

    Returns:
        diagnosis, weights (the kind), slice (from 0), mm, value, ci_low, ci_high, n_scans,
        n_subjects.
    """
    rows = []
    for diagnosis, at in scans.reset_index(drop=True).groupby("diagnosis").groups.items():
        bootstrap = ClusterBootstrap(scans["participant_id"].to_numpy()[at], resamples, seed)
        for kind, values in weights.items():
            for number, mm in enumerate(positions):
                about = {"diagnosis": diagnosis, "weights": kind, "slice": number, "mm": mm}
                rows.append(about | _row(bootstrap, bootstrap.mean(values[at, number])))
    return pd.DataFrame(rows)


def check_table(scans: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Means of every check by method and level of randomisation, and differences with the trained.

    Args:
        scans: A row a scan, method, level, draw and measure: scan_id, participant_id, method,
            level, draw, measure, value. Draws of random weights are averaged, scans without a value
            left out.

    Returns:
        method, level, reference, measure, value, ci_low, ci_high, n_scans, n_subjects. Rows with a
        reference are the trained read-out less that level, scan by scan.
    """
    keys = ["method", "level", "measure"]
    each = ["scan_id", "participant_id", *keys]
    mean = scans.groupby(each, sort=False)["value"].mean().dropna().reset_index()
    rows: list[dict[str, Any]] = []
    for (method, measure), part in mean.groupby(["method", "measure"], sort=False):
        levels = {name: one.set_index("scan_id") for name, one in part.groupby("level", sort=False)}
        about = {"method": method, "measure": measure}
        for level, one in levels.items():
            bootstrap = ClusterBootstrap(one["participant_id"], resamples, seed)
            found = _row(bootstrap, bootstrap.mean(one["value"]))
            rows.append(about | {"level": level, "reference": None} | found)
        trained = levels.get(TRAINED)
        for level, one in levels.items():
            if trained is None or level == TRAINED:
                continue
            gap = (trained["value"] - one["value"]).dropna()
            people = trained.loc[gap.index, "participant_id"]
            bootstrap = ClusterBootstrap(people, resamples, seed)
            found = _row(bootstrap, bootstrap.mean(gap))
            rows.append(about | {"level": TRAINED, "reference": level} | found)
    columns = ["method", "level", "reference", "measure", "value", "ci_low", "ci_high"]
    return pd.DataFrame(rows)[[*columns, "n_scans", "n_subjects"]]


def _row(bootstrap: ClusterBootstrap, found: Interval) -> dict[str, float]:
    return found.row("value") | bootstrap.counts
