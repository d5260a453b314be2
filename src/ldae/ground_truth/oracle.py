"""The oracle: true volumes of a synthetic cohort's scans, as a row of the probes' tables."""

from pathlib import Path

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.files import read_table, write_table

KEYS = ["participant_id", "session_id"]
# In the template's scale, as the models see them, where the truth tells it from the head's own.
TRUE = {
    "ventricle_ml": ("ventricle_template_ml", "ventricle_ml"),
    "hippocampus_ml": ("hippocampus_template_ml", "hippocampus_ml"),
}


def write_true_volumes(truth: str | Path, index: str | Path, table: str | Path) -> None:
    """Write scan_id, log_ventricle_ml and hippocampus_ml (true, ml) of every scan of a store.

    Ventricles differ by factors, so their logarithm is what a linear model can use.

    Args:
        truth: truth.tsv of the cohort.
        index: index.tsv of the volume store.
        table: TSV to write.

    Raises:
        UserError: a scan has no row of truth, or a visit two.
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
        f"The truth {truth} lacks {len(lacking)} scan(s), the first is {lacking[:1]}; it must be "
        "the truth of this very cohort.",
    )
    oracle = pd.DataFrame(
        {
            "scan_id": merged["scan_id"],
            "log_ventricle_ml": np.log(found["ventricle_ml"]).round(6),
            "hippocampus_ml": found["hippocampus_ml"].round(6),
        }
    )
    write_table(oracle, table)
