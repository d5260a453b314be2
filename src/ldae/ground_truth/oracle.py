"""Oracle baseline of the probes: true volumes of a synthetic cohort's scans."""

from pathlib import Path

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.files import read_table, write_table

KEYS = ["participant_id", "session_id"]
# Columns of the truth, the first that exists: ml in template scale, which the models' input has.
# Where a truth has no ``template`` columns, the others are in template scale already.
TRUE = {
    "ventricle_ml": ("ventricle_template_ml", "ventricle_ml"),
    "hippocampus_ml": ("hippocampus_template_ml", "hippocampus_ml"),
}


def write_true_volumes(truth: str | Path, index: str | Path, table: str | Path) -> None:
    """Write the true volumes of every scan of a store.

    Ventricular volumes differ by factors, so a linear model needs their logarithm.

    Args:
        truth: truth.tsv of the cohort.
        index: index.tsv of the volume store.
        table: TSV to write: scan_id, log_ventricle_ml, hippocampus_ml (ml).

    Raises:
        UserError: the truth lacks a scan, or has two rows for a visit.
    """
    known = read_table(truth, [*KEYS, "ventricle_ml", "hippocampus_ml"])
    require(
        not known.duplicated(KEYS).any(),
        f"The truth {truth} has more than one row for a visit; keep one.",
    )
    scans = read_table(index, ["scan_id", *KEYS])
    merged = scans[["scan_id", *KEYS]].merge(known, on=KEYS, how="left")
    found = {
        name: merged[next(column for column in columns if column in merged)]
        for name, columns in TRUE.items()
    }
    lacking = merged.loc[found["ventricle_ml"].isna(), "scan_id"].tolist()
    require(
        not lacking,
        f"The truth {truth} lacks {len(lacking)} scan(s), the first is {''.join(lacking[:1])}; set "
        "evaluation.truth to the truth of this cohort.",
    )
    oracle = pd.DataFrame(
        {
            "scan_id": merged["scan_id"],
            "log_ventricle_ml": np.log(found["ventricle_ml"]).round(6),
            "hippocampus_ml": found["hippocampus_ml"].round(6),
        }
    )
    write_table(oracle, table)
