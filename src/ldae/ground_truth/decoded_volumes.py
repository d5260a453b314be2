"""Volumes in decoded images against the true ones of a synthetic cohort.

The volumes of scans themselves are measured by intensity in a fixed region, so contrast and noise
have a part in them. A decode from y_sem need not repeat that part: against the truth it can be
nearer than the scan's own measure.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap
from ldae.evaluation.metrics.classification import pearson
from ldae.evaluation.reconstruction_tables import KEYS, VOLUMES
from ldae.files import read_table, write_table
from ldae.systems import table_position

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
    own = found.drop_duplicates("scan_id").drop(columns=list(VOLUMES))
    own = own.rename(columns={column: name for name, column in originals.items()})
    own = own.assign(system=ORIGINAL, variant=np.nan, T=np.nan)
    rows = []
    groups = list(pd.concat([own, found]).groupby(KEYS, dropna=False, sort=False))
    groups.sort(key=lambda item: (item[0][0] != ORIGINAL, table_position(item[0][0])))
    for (system, variant, steps), part in groups:
        part = part.sort_values("scan_id")
        bootstrap = ClusterBootstrap(part["participant_id"], resamples, seed)
        for name in VOLUMES:
            true = known.loc[part["scan_id"], name].to_numpy()
            rows.append(
                {"system": system, "variant": variant, "T": steps, "measure": name}
                | bootstrap.interval(pearson(part[name].to_numpy(), true)).row("r")
                | bootstrap.counts
            )
    write_table(pd.DataFrame(rows).astype({"T": "Int64"}), table)
