"""Volumes in decoded images against the true ones of a synthetic cohort.

The volumes of scans themselves are measured by intensity in a fixed region, so contrast and noise
have a part in them. A decode from y_sem need not repeat that part: against the truth it can be
nearer than the scan's own measure.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation.reconstruction_tables import KEYS, VOLUMES, correlated_volumes
from ldae.files import read_table, write_table

ORIGINAL = "original"  # system of the rows of the scans' own volumes


def correlate_decoded_volumes(
    scans: Sequence[str | Path],
    true_volumes: str | Path,
    table: str | Path,
    resamples: int,
    seed: int,
) -> None:
    """Correlate the soft volumes of reconstructions, and of the scans, with the true volumes.

    Args:
        scans: Per-scan TSVs of :func:`ldae.evaluation.reconstruction.evaluate_reconstruction`, one
            a system.
        true_volumes: TSV of :func:`ldae.ground_truth.oracle.write_true_volumes`.
        table: TSV to write: system, variant, T, measure, r (Pearson correlation over test scans
            with the true volume), ci_low, ci_high, n_scans, n_subjects.
        resamples, seed: Number of bootstrap resamples of subjects, and their seed.

    Raises:
        UserError: a table lacks a column.
    """
    originals = {name: f"original_{name}" for name in VOLUMES}
    columns = [*KEYS, "scan_id", "participant_id", *VOLUMES, *originals.values()]
    found = pd.concat([read_table(path, columns)[columns] for path in scans])
    known = read_table(true_volumes, ["scan_id", "log_ventricle_ml", "hippocampus_ml"])
    known = known.assign(ventricle_ml=np.exp(known["log_ventricle_ml"])).set_index("scan_id")
    for name in VOLUMES:
        found[f"true_{name}"] = known.loc[found["scan_id"], name].to_numpy()
    own = found.drop_duplicates("scan_id").drop(columns=list(VOLUMES))
    own = own.rename(columns={column: name for name, column in originals.items()})
    own = own.assign(system=ORIGINAL, variant=np.nan, T=np.nan)
    parts = [correlated_volumes(one, "true", resamples, seed) for one in (own, found)]
    write_table(pd.concat(parts), table)
