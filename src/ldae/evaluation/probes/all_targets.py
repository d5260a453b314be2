"""Tables of all targets, from the tables of each: joined, and corrected for their number."""

import csv
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ldae.evaluation.metrics.bootstrap import holm
from ldae.evaluation.probes.summary import FROZEN
from ldae.files import atomic, read_table, write_table

# Part of a target's results with p values -> the column that makes families of them: each system's
# (or reference's) p values are corrected for the number of targets. A family of all targets and
# systems would be larger than a bootstrap can resolve: its p values are at least 2/(R + 1).
FAMILIES = {"summary": "system", "contrasts": "reference"}


def join_tables(paths: Iterable[str | Path], out: str | Path) -> None:
    """Write the rows of several TSV tables of the same columns as one, cell by cell as they are.

    Raises:
        ValueError: the columns differ.
    """
    head: list[str] | None = None
    rows: list[list[str]] = []
    for path in paths:
        with Path(path).open(newline="", encoding="utf-8") as stream:
            first, *more = csv.reader(stream, delimiter="\t")
        if head is not None and first != head:
            raise ValueError(f"{path} has other columns than the tables before it")
        head, rows = first, rows + more
    with atomic(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerows([head or [], *rows])


def write_targets(part: str, paths: Iterable[str | Path], out: str | Path) -> None:
    """Write one table of all targets.

    Args:
        part: ``summary``, ``contrasts`` or ``calibration``: see
            :func:`ldae.evaluation.probes.summary.summarise`.
        paths: That table of each target.
        out: TSV to write: the same columns, and ``p_holm`` beside ``p``: corrected for the
            number of targets, within each system, on the frozen split.
    """
    if part not in FAMILIES:
        join_tables(paths, out)
        return
    found = [table for table in (read_table(path) for path in paths) if len(table)]
    write_table(corrected(pd.concat(found, ignore_index=True), FAMILIES[part]), out)


def corrected(table: pd.DataFrame, family: str) -> pd.DataFrame:
    """A table of all targets with ``p_holm`` beside ``p``.

    Args:
        table: Rows of all targets, with column p; if it has ``split``, rows of other splits than
            the frozen one are not corrected.
        family: Column whose equal values are one family.
    """
    inside = table["split"] == FROZEN if "split" in table else pd.Series(True, table.index)
    found = table.loc[inside].groupby(family)["p"].transform(holm)
    table = table.copy()
    table.insert(table.columns.get_loc("p") + 1, "p_holm", found.reindex(table.index))
    return table
