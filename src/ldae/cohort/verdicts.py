"""A person's verdicts on scans (``cohort.exclude``), which overrule our quality control."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from ldae.errors import require
from ldae.files import read_table

COLUMNS = ["scan_id", "verdict", "reason"]
EXCLUDE, KEEP = "exclude", "keep"


def read_verdicts(path: str | Path | None, scan_ids: Collection[str]) -> pd.DataFrame:
    """Read the table of verdicts; without a file, there are none.

    Args:
        path: Table scan_id, reason and perhaps verdict: ``exclude`` (also where it is empty or the
            column is absent) or ``keep``, which lets a scan in that our quality control refused.
        scan_ids: Scans that the cohort knows (:func:`known_scans`).

    Returns:
        Columns ``COLUMNS``.

    Raises:
        UserError: a scan is not one of ``scan_ids`` (a typing error would leave a bad scan in), is
            there twice, has no reason, or a verdict is neither exclude nor keep.
    """
    if path is None:
        return pd.DataFrame(columns=COLUMNS, dtype=object)
    table = read_table(path, ["scan_id", "reason"])
    table = table.reindex(columns=COLUMNS).astype(object).fillna("")
    table = table.apply(lambda column: column.astype(str).str.strip())
    table["verdict"] = table["verdict"].replace("", EXCLUDE)
    wrong = table.loc[~table["verdict"].isin([EXCLUDE, KEEP]), "scan_id"]
    require(
        wrong.empty,
        f"{path} has a verdict other than exclude and keep for {', '.join(wrong)}. Correct it.",
    )
    unknown = sorted(set(table["scan_id"]) - set(scan_ids))
    require(
        not unknown,
        f"{path} names scan(s) that neither the scan table nor the conversion knows: "
        f"{', '.join(unknown)}. Correct them or remove the rows.",
    )
    twice = table.loc[table["scan_id"].duplicated(), "scan_id"]
    require(twice.empty, f"{path} names {', '.join(twice)} twice. Remove one of the rows.")
    silent = table.loc[table["reason"] == "", "scan_id"]
    require(silent.empty, f"{path} gives no reason for {', '.join(silent)}. Add one.")
    return table


def known_scans(scans: pd.DataFrame, conversion: pd.DataFrame) -> set[str]:
    """Scans of the scan table and those that were left out of it, on which a verdict may remain.

    Args:
        scans: Scan table (scan_id).
        conversion: conversion.tsv (scan_id; n/a for images that are no scan): also scans that
            failed, are missing, or are left out as duplicates.
    """
    return {*scans["scan_id"], *conversion["scan_id"].dropna()}
