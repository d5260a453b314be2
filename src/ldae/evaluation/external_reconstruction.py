"""Tables of the reconstruction of external test sets, and differences to the own test set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation.metrics.bootstrap import (
    ClusterBootstrap,
    unpaired_difference,
    weighted_mean,
)
from ldae.evaluation.reconstruction_tables import KEYS, metric_columns, summary_table
from ldae.files import read_table, write_table
from ldae.seeds import derive_seed

COLUMNS = [
    "cohort", *KEYS, "metric", "value", "ci_low", "ci_high", "n_scans", "n_subjects", "ssim_window",
    "note",
]  # fmt: skip
GAPS = [
    "cohort", "reference", *KEYS, "metric", "difference", "ci_low", "ci_high", "n_scans",
    "n_subjects", "n_scans_reference", "n_subjects_reference",
]  # fmt: skip
NO_SCAN = "none of its scans is in the volume store (results/cohort/ledger.tsv)"


def external_reconstruction_tables(
    external: Sequence[str | Path],
    own: Sequence[str | Path],
    cohorts: Sequence[str],
    reference: str,
    table: str | Path,
    differences: str | Path,
    resamples: int,
    seed: int,
) -> None:
    """Write means of every metric on each external test set, and less those on the own test set.

    Args:
        external, own: Per-scan tables of the external test sets and of the own one, a file a
            system (:func:`ldae.evaluation.reconstruction.evaluate_reconstruction`).
        cohorts: Names of the external test sets.
        reference: Name of the main cohort.
        table: TSV to write, columns :data:`COLUMNS`. A test set without scans has one row, whose
            note says so.
        differences: TSV to write, columns :data:`GAPS`: mean on the external test set less that on
            the cohort's own. Both groups of subjects are resampled.
        resamples, seed: Number of bootstrap resamples of subjects, and their seed.
    """
    columns = [*KEYS, "scan_id", "participant_id"]
    theirs, mine = ([read_table(path, columns) for path in paths] for paths in (external, own))
    rows, gaps = [], []
    for cohort in cohorts:
        parts = [table[table["cohort"] == cohort] for table in theirs]
        found = pd.concat(parts, ignore_index=True)
        if found.empty:
            rows.append({"cohort": cohort, "note": NO_SCAN})
            continue
        draws = derive_seed(seed, "external", cohort)
        means = summary_table(found, resamples, draws).assign(cohort=cohort)
        rows += means.to_dict("records")
        about = {"cohort": cohort, "reference": reference}
        ours = pd.concat(mine, ignore_index=True)
        gaps += [about | gap for gap in _differences(found, ours, resamples, (draws, seed))]
    written = pd.DataFrame(rows, columns=COLUMNS).astype({"T": "Int64"})
    write_table(written, table)
    write_table(pd.DataFrame(gaps, columns=GAPS).astype({"T": "Int64"}), differences)


def _differences(
    external: pd.DataFrame, own: pd.DataFrame, resamples: int, seeds: tuple[int, int]
) -> list[dict]:
    """Rows of the differences, without the cohorts, in the order of the external means."""
    ours = dict(tuple(own.fillna({"T": 0}).groupby(KEYS)))
    rows = []
    for key, part in external.fillna({"T": 0}).groupby(KEYS, sort=False):
        pair = [one.sort_values("scan_id") for one in (part, ours[key])]
        first, second = (
            ClusterBootstrap(one["participant_id"], resamples, seed)
            for one, seed in zip(pair, seeds, strict=True)
        )
        about = dict(zip(KEYS, key, strict=True))
        about["T"] = about["T"] or np.nan
        size = {
            "n_scans": first.size,
            "n_subjects": first.clusters,
            "n_scans_reference": second.size,
            "n_subjects_reference": second.clusters,
        }
        for name in metric_columns(external):
            if part[name].isna().all():
                continue
            means = [weighted_mean(one[name]) for one in pair]
            gap = unpaired_difference(first, means[0], second, means[1])
            rows.append(about | {"metric": name} | gap.row("difference") | size)
    return rows
