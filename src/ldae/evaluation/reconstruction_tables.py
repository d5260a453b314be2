"""Reconstruction tables: means, paired controls and volume correlation.

Means are shown beside the paper's Table 6.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap
from ldae.evaluation.metrics.classification import pearson
from ldae.evaluation.published_values import reconstruction_value
from ldae.files import read_table, write_table
from ldae.systems import metric, table_position

KEYS = ["system", "variant", "T"]
VOLUMES = ("ventricle_ml", "hippocampus_ml")
NON_METRICS = {"scan_id", "participant_id", "diagnosis", "cohort", "ssim_window"}
NON_METRICS |= {*KEYS, *VOLUMES}
NON_METRICS |= {f"original_{name}" for name in VOLUMES}


def metric_columns(scans: pd.DataFrame) -> list[str]:
    """Names of the metric columns of a per-scan table."""
    return [name for name in scans.columns if name not in NON_METRICS]


def _table_order(key: tuple[str, str, float]) -> tuple:
    system, variant, steps = key
    return table_position(system), system, variant, np.nan_to_num(steps)


def summary_table(scans: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Mean of every metric with its interval over subjects.

    Args:
        scans: Per-scan table of :func:`ldae.evaluation.reconstruction.evaluate_reconstruction`, or
            several of them joined. A metric that a system lacks is left out.

    Returns:
        system, variant, T, metric, value, ci_low, ci_high, n_scans, n_subjects, ssim_window, paper.
    """
    rows = []
    groups = list(scans.groupby(KEYS, dropna=False, sort=False))
    groups.sort(key=lambda item: _table_order(item[0]))
    for (system, variant, steps), part in groups:
        part = part.sort_values("scan_id")
        bootstrap = ClusterBootstrap(part["participant_id"], resamples, seed)
        for name in metric_columns(scans):
            if part[name].isna().all():
                continue
            published = reconstruction_value(
                system, variant, None if np.isnan(steps) else int(steps), name
            )
            rows.append(
                {"system": system, "variant": variant, "T": steps, "metric": name}
                | bootstrap.mean(part[name]).row("value")
                | bootstrap.counts
                | {"ssim_window": part["ssim_window"].iloc[0], "paper": published}
            )
    return pd.DataFrame(rows).astype({"T": "Int64"})


def control_table(scans: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Paired differences, scan by scan, that show the contribution of the codes.

    - ``y_sem - wrong_y_sem``, ``y_sem - mean_y_sem``: same z_T, largest T. No difference means
      that y_sem holds no information about the subject.
    - ``lddim encoded - autoencoder``, ``ldae encoded - autoencoder``: the loss of the DDIM round
      trip.
    - ``ldae encoded - lddim encoded``: the effect of guidance on that round trip.

    Args:
        scans: Per-scan table of the LDAE, with the controls.

    Returns:
        comparison, T, metric, difference, ci_low, ci_high, n_scans, n_subjects, n_better (number of
        scans on which the first is better: higher SSIM; lower MSE or LPIPS).
    """
    tables = {
        (system, variant, -1 if np.isnan(steps) else int(steps)): part.set_index("scan_id")
        for (system, variant, steps), part in scans.groupby(KEYS, dropna=False)
    }
    every = sorted({steps for *_, steps in tables if steps > 0})
    autoencoder = ("autoencoder", "reconstruction", -1)
    pairs = [
        (f"y_sem - {name}", every[-1], ("ldae", "y_sem", every[-1]), ("ldae", name, every[-1]))
        for name in ("wrong_y_sem", "mean_y_sem")
    ]
    for steps in every:
        lddim, ldae = ("lddim", "encoded", steps), ("ldae", "encoded", steps)
        pairs += [
            ("lddim encoded - autoencoder", steps, lddim, autoencoder),
            ("ldae encoded - autoencoder", steps, ldae, autoencoder),
            ("ldae encoded - lddim encoded", steps, ldae, lddim),
        ]
    rows = []
    for comparison, steps, first, second in pairs:
        a = tables[first].sort_index()
        b = tables[second].loc[a.index]
        bootstrap = ClusterBootstrap(a["participant_id"], resamples, seed)
        for name in metric_columns(scans):
            difference = a[name] - b[name]
            rows.append(
                {"comparison": comparison, "T": steps, "metric": name}
                | bootstrap.mean(difference).row("difference")
                | bootstrap.counts
                | {"n_better": int(metric(name).improves(difference).sum())}
            )
    return pd.DataFrame(rows)


def volume_correlation_table(
    scans: Sequence[str | Path], table: str | Path, resamples: int, seed: int
) -> None:
    """Correlate the soft volumes of reconstructions with those of the original scans.

    Args:
        scans: Per-scan TSVs of :func:`ldae.evaluation.reconstruction.evaluate_reconstruction`, one
            a system.
        table: TSV to write: system, variant, T, measure, r (Pearson correlation over test scans),
            ci_low, ci_high, n_scans, n_subjects.
        resamples, seed: Number of bootstrap resamples of subjects, and their seed.
    """
    columns = [*KEYS, "scan_id", "participant_id", *VOLUMES]
    found = pd.concat([read_table(path, columns) for path in scans])
    write_table(correlated_volumes(found, "original", resamples, seed), table)


def correlated_volumes(
    scans: pd.DataFrame, reference: str, resamples: int, seed: int
) -> pd.DataFrame:
    """Correlation of volumes with those of a reference, by system, variant and T.

    Args:
        scans: Per-scan table with the columns of :data:`VOLUMES`, and of each its reference's,
            ``{reference}_{name}``.
        reference: Start of these columns' names.
        resamples, seed: Number of bootstrap resamples of subjects, and their seed.

    Returns:
        Columns of :func:`volume_correlation_table`.
    """
    rows = []
    groups = list(scans.groupby(KEYS, dropna=False, sort=False))
    groups.sort(key=lambda item: _table_order(item[0]))
    for (system, variant, steps), part in groups:
        part = part.sort_values("scan_id")
        bootstrap = ClusterBootstrap(part["participant_id"], resamples, seed)
        for name in VOLUMES:
            own, other = part[name].to_numpy(), part[f"{reference}_{name}"].to_numpy()
            rows.append(
                {"system": system, "variant": variant, "T": steps, "measure": name}
                | bootstrap.interval(pearson(own, other)).row("r")
                | bootstrap.counts
            )
    return pd.DataFrame(rows).astype({"T": "Int64"})
