"""Oracle baseline of the probes: true volumes of the scans of synthetic cohorts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.files import read_table, write_table
from ldae.ground_truth.truth import VISIT, join_truth


def write_true_volumes(truth: Sequence[str | Path], index: str | Path, table: str | Path) -> None:
    """Write the true volumes of every scan of a store.

    Ventricular volumes differ by factors, so a linear model needs their logarithm.

    Args:
        truth: truth.tsv of each cohort.
        index: index.tsv of the volume store.
        table: TSV to write: scan_id, log_ventricle_ml, hippocampus_ml (ml in template scale).

    Raises:
        UserError: the truth lacks a scan, or has two rows for a visit.
    """
    scans = join_truth(read_table(index, ["scan_id", *VISIT])[["scan_id", *VISIT]], truth, [])
    oracle = pd.DataFrame(
        {
            "scan_id": scans["scan_id"],
            "log_ventricle_ml": np.log(scans["ventricle_ml"]).round(6),
            "hippocampus_ml": scans["hippocampus_ml"].round(6),
        }
    )
    write_table(oracle, table)
