"""The limit on failures (``cohort.max_failed_fraction``): a few do not stop a run, many do."""

from collections.abc import Mapping

import pandas as pd

from ldae.derivatives import lost_scans
from ldae.errors import UserError

SHOWN = 50  # scans listed in the message


def check_failures(
    manifests: Mapping[str, pd.DataFrame], verdicts: pd.DataFrame, max_failed_fraction: float
) -> None:
    """Stop when too many scans were lost in preprocessing, by failures and by our QC together.

    A scan that a person has judged, to be kept or excluded, no longer counts.

    Args:
        manifests: From :func:`ldae.derivatives.read_manifests`.
        verdicts: From :func:`ldae.cohort.verdicts.read_verdicts`.
        max_failed_fraction: Largest share of scans that may be lost.

    Raises:
        UserError: lists the lost scans, where and why.
    """
    lost = lost_scans(manifests)
    lost = lost[~lost["scan_id"].isin(verdicts["scan_id"])]
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
