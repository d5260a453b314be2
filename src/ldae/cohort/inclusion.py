"""Inclusion criteria: the scans that models may use, and the failure limit.

A scan is included if it passed all steps and our quality control (QC). The decisions of people
(``cohort.exclude``, :mod:`ldae.cohort.ratings`) override QC in both directions: they exclude a
scan that passed, or keep one that QC rejected. A scan on which a step failed has no image and is
never included.

The failure limit (``cohort.max_failed_fraction``): a few failures do not stop a run, many do.
"""

import logging
from collections.abc import Collection, Mapping

import pandas as pd

from ldae.cohort.ratings import EXCLUDE, KEEP
from ldae.cohort.splits import assert_disjoint
from ldae.derivatives import OK, QC, lost_scans
from ldae.errors import UserError, require

log = logging.getLogger(__name__)
SHOWN = 50  # scans listed in the message


def included_scans(
    scans: pd.DataFrame,
    splits: pd.DataFrame,
    manifests: Mapping[str, pd.DataFrame],
    decisions: pd.DataFrame,
) -> pd.DataFrame:
    """Select the scans that models may use, with the split of their subject.

    Included are scans that passed all steps, and scans that our quality control rejected but the
    rater keeps. Excluded are scans on which a step failed, and scans that the rater excludes.

    Args:
        scans: Scan table.
        splits: participant_id, split.
        manifests: From :func:`ldae.derivatives.read_manifests`.
        decisions: From :func:`ldae.cohort.ratings.read_decisions`.

    Returns:
        Columns of ``scans`` and split, sorted by scan_id.

    Raises:
        UserError: a scan has no status, its subject has no split or two, an image is in two
            splits, or no scan is included.
    """
    status, packed = (_status(scans, manifests[step], step) for step in ("registration", "pack"))
    decision = scans["scan_id"].map(decisions.set_index("scan_id")["verdict"])
    without_image = scans.loc[(decision == KEEP) & (packed != OK), "scan_id"]
    for scan_id in without_image:
        log.warning("%s cannot be kept (cohort.exclude): a step failed, it has no image", scan_id)
    passed = (status == OK) | ((status == QC) & (decision == KEEP))
    table = scans[passed & (packed == OK) & (decision != EXCLUDE)]
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


def check_failures(
    manifests: Mapping[str, pd.DataFrame],
    decisions: pd.DataFrame,
    max_failed_fraction: float,
    external: Collection[str] = (),
) -> None:
    """Refuse to go on if preprocessing lost too many scans, by failures and our QC together.

    Scans on which the rater decided, to keep or to exclude, do not count as lost.

    Args:
        manifests: From :func:`ldae.derivatives.read_manifests`.
        decisions: From :func:`ldae.cohort.ratings.read_decisions`.
        max_failed_fraction: Largest fraction of all scans in the manifests that may be lost.
        external: Scans of external test sets. They do not count: a test set that lost many has few
            rows, but the models and the cohort's own results are not the worse for it.

    Raises:
        UserError: too many were lost; lists the scans, each with its step and reason.
    """
    lost = lost_scans(manifests)
    lost = lost[~lost["scan_id"].isin([*decisions["scan_id"], *external])]
    _stop_if_many(
        lost,
        len(set().union(*(table["scan_id"] for table in manifests.values())) - set(external)),
        "failed in preprocessing or its quality control",
        max_failed_fraction,
        "Look at the page qc/index.html of the results. Mend the cause, keep or exclude scans in "
        "cohort.exclude, or raise that limit to go on without these.",
    )


def check_conversion(
    conversion: pd.DataFrame, max_failed_fraction: float, external: Collection[str] = ()
) -> None:
    """Refuse to go on if too many images were damaged or could not be converted.

    Args:
        conversion: conversion.tsv. Only the status converted, failed and corrupt count.
        max_failed_fraction: Largest fraction of these images that may be failed or corrupt.
        external: Cohorts that are external test sets, whose images do not count.

    Raises:
        UserError: too many failed; lists the images and reasons.
    """
    counted = ~conversion["cohort"].isin(list(external))
    wanted = conversion[counted & conversion["status"].isin(["converted", "failed", "corrupt"])]
    failed = wanted[wanted["status"] != "converted"]
    names = failed["scan_id"].fillna(failed["image_id"]).fillna(failed["path"])
    _stop_if_many(
        failed.assign(scan_id=names, step=failed["status"]),
        len(wanted),
        "failed in the conversion",
        max_failed_fraction,
        "All are in cohort/conversion.tsv of the results. Download damaged images again and run "
        "with --forcerun check_download; mend what the machine lacked and run the target `retry`; "
        "or raise that limit to go on without these.",
    )


def _stop_if_many(lost: pd.DataFrame, total: int, how: str, limit: float, remedy: str) -> None:
    """Raise if ``lost`` (columns scan_id, step, reason) has more than ``limit * total`` rows."""
    if len(lost) <= limit * total:
        return
    shown = [f"{row.scan_id} ({row.step}): {row.reason}" for row in lost[:SHOWN].itertuples()]
    if len(lost) > SHOWN:
        shown.append(f"and {len(lost) - SHOWN} more")
    raise UserError(
        f"{len(lost)} of {total} scans {how}, more than cohort.max_failed_fraction ({limit:g}) "
        "allows:\n  " + "\n  ".join(shown) + f"\n{remedy}"
    )
