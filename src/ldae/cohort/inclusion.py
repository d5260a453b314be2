"""A person's verdicts on scans (``cohort.exclude``), which overrule our quality control.

Which scans the models may see: registered, and refused neither by our QC nor by a person.

The limit on failures (``cohort.max_failed_fraction``): a few do not stop a run, many do.
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from ldae.cohort.splits import assert_disjoint
from ldae.derivatives import OK, QC, lost_scans
from ldae.errors import UserError, require
from ldae.files import read_table

COLUMNS = ["scan_id", "verdict", "reason"]
EXCLUDE, KEEP = "exclude", "keep"


def read_decisions(path: str | Path | None, scan_ids: Collection[str]) -> pd.DataFrame:
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


log = logging.getLogger(__name__)


def included_scans(
    scans: pd.DataFrame,
    splits: pd.DataFrame,
    manifests: Mapping[str, pd.DataFrame],
    decisions: pd.DataFrame,
) -> pd.DataFrame:
    """The rows of scans.tsv that are used, with their subject's side.

    Used is what passed all steps, and what our quality control refused but a person keeps; never
    what a step failed on (there is no image then), nor what a person excludes.

    Args:
        scans: Scan table.
        splits: participant_id, split.
        manifests: From :func:`ldae.derivatives.read_manifests`.
        verdicts: From :func:`ldae.cohort.inclusion.read_decisions`.

    Returns:
        Columns of ``scans`` and split, sorted by scan_id.

    Raises:
        UserError: a scan has no status, its subject no side or two, an image is on two sides, or
            no scan is left.
    """
    status, packed = (_status(scans, manifests[step], step) for step in ("registration", "pack"))
    verdict = scans["scan_id"].map(decisions.set_index("scan_id")["verdict"])
    useless = scans.loc[(verdict == KEEP) & (packed != OK), "scan_id"]
    for scan_id in useless:
        log.warning("%s is to be kept, but a step failed on it: there is no image", scan_id)
    passed = (status == OK) | ((status == QC) & (verdict == KEEP))
    table = scans[passed & (packed == OK) & (verdict != EXCLUDE)]
    table = table.sort_values("scan_id", ignore_index=True)
    require(
        len(table) > 0,
        f"None of the {len(scans)} scans passed preprocessing and quality control: see the "
        "manifests in preproc/manifests and the page qc/index.html of the results.",
    )
    assert_disjoint(splits)
    table["split"] = table["participant_id"].map(splits.set_index("participant_id")["split"])
    without_split = table.loc[table["split"].isna(), "participant_id"].unique()
    require(
        len(without_split) == 0,
        f"{len(without_split)} subject(s) are in no split, such as "
        f"{next(iter(without_split), '')}. Make the splits again.",
    )
    assert_disjoint(table)
    return table


def _status(scans: pd.DataFrame, manifest: pd.DataFrame, step: str) -> pd.Series:
    """Status of each scan at a step, on the index of ``scans``."""
    status = scans["scan_id"].map(manifest.set_index("scan_id")["status"])
    absent = scans.loc[status.isna(), "scan_id"]
    require(
        absent.empty,
        f"{len(absent)} scan(s) of the scan table are in no manifest of the step {step}, such as "
        f"{next(iter(absent), '')}. Run the target `preprocess`.",
    )
    return status


SHOWN = 50  # scans listed in the message


def check_failures(
    manifests: Mapping[str, pd.DataFrame], decisions: pd.DataFrame, max_failed_fraction: float
) -> None:
    """Stop when too many scans were lost in preprocessing, by failures and by our QC together.

    A scan that a person has judged, to be kept or excluded, no longer counts.

    Args:
        manifests: From :func:`ldae.derivatives.read_manifests`.
        verdicts: From :func:`ldae.cohort.inclusion.read_decisions`.
        max_failed_fraction: Largest share of scans that may be lost.

    Raises:
        UserError: lists the lost scans, where and why.
    """
    lost = lost_scans(manifests)
    lost = lost[~lost["scan_id"].isin(decisions["scan_id"])]
    _stop_if_many(
        lost,
        len(set().union(*(table["scan_id"] for table in manifests.values()))),
        "failed in preprocessing or its quality control",
        max_failed_fraction,
        "Look at the page qc/index.html of the results. Mend the cause, keep or exclude scans in "
        "cohort.exclude, or raise that limit to go on without these.",
    )


def check_conversion(conversion: pd.DataFrame, max_failed_fraction: float) -> None:
    """Stop when too many of the images to convert were damaged or could not be converted.

    Raises:
        UserError: lists the failed images and why.
    """
    wanted = conversion[conversion["status"].isin(["converted", "failed", "corrupt"])]
    failed = wanted[wanted["status"] != "converted"]
    names = failed["scan_id"].fillna(failed["image_id"]).fillna(failed["path"])
    _stop_if_many(
        failed.assign(scan_id=names, step=failed["status"]),
        len(wanted),
        "failed in the conversion",
        max_failed_fraction,
        "All are in cohort/conversion.tsv of the results. Download damaged images again and run "
        "with --forcerun check_download; mend what the machine lacked and run `snakemake retry`; "
        "or raise that limit to go on without these.",
    )


def _stop_if_many(lost: pd.DataFrame, total: int, how: str, limit: float, remedy: str) -> None:
    """``lost``: columns scan_id, step, reason."""
    if len(lost) <= limit * total:
        return
    shown = [f"{row.scan_id} ({row.step}): {row.reason}" for row in lost[:SHOWN].itertuples()]
    if len(lost) > SHOWN:
        shown.append(f"and {len(lost) - SHOWN} more")
    raise UserError(
        f"{len(lost)} of {total} scans {how}, more than cohort.max_failed_fraction ({limit:g}) "
        "allows:\n  " + "\n  ".join(shown) + f"\n{remedy}"
    )
