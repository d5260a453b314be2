"""Truth of synthetic cohorts: one table from each truth.tsv of config ``evaluation.truth``."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ldae.errors import require
from ldae.files import read_table

VISIT = ["participant_id", "session_id"]
# Volumes that a truth has, in ml. A cohort of raw heads has them in native and in template scale,
# with ``_template_ml``; a preprocessed one in template scale alone, which the models' input has.
VOLUMES = ("ventricle", "hippocampus")


def read_truth(paths: Sequence[str | Path], columns: Sequence[str]) -> pd.DataFrame:
    """Read the truth of all synthetic cohorts of a run.

    Args:
        paths: truth.tsv of each cohort.
        columns: Columns to read besides the volumes and those of ``VISIT``.

    Returns:
        One row a visit: participant_id, session_id, ``columns``, ventricle_ml, hippocampus_ml (both
        in template scale), and ``truth``, the truth.tsv that the row comes from.

    Raises:
        UserError: a table lacks a column, or a visit has two rows.
    """
    names = [f"{volume}_ml" for volume in VOLUMES]
    tables = []
    for path in paths:
        table = read_table(path, [*VISIT, *columns, *names])
        for volume, name in zip(VOLUMES, names, strict=True):
            table[name] = table.get(f"{volume}_template_ml", table[name])
        tables.append(table[[*VISIT, *columns, *names]].assign(truth=str(path)))
    known = pd.concat(tables, ignore_index=True)
    twice = known[known.duplicated(VISIT, keep=False)]
    require(
        twice.empty,
        f"evaluation.truth: {' and '.join(twice['truth'].unique())} have more than one row for "
        f"{' '.join(twice[VISIT].iloc[0]) if len(twice) else ''}; keep one.",
    )
    return known


def join_truth(
    scans: pd.DataFrame, paths: Sequence[str | Path], columns: Sequence[str]
) -> pd.DataFrame:
    """Join each scan with the truth of its visit.

    Args:
        scans: Columns scan_id and those of ``VISIT``; none of the truth's.
        paths, columns: As in :func:`read_truth`.

    Returns:
        ``scans`` in its order, with the columns of :func:`read_truth`.

    Raises:
        UserError: as in :func:`read_truth`, or the truth lacks a scan.
    """
    known = read_truth(paths, columns)
    joined = scans.merge(known, on=VISIT, how="left", validate="many_to_one")
    lacking = joined.loc[joined["truth"].isna(), "scan_id"].tolist()
    require(
        not lacking,
        f"The truth in {', '.join(map(str, paths))} lacks {len(lacking)} scan(s), the first is "
        f"{''.join(lacking[:1])}; set evaluation.truth to the truth of every cohort of this run.",
    )
    return joined
