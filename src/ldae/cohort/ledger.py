"""The ledger: what became of every image of the download, and the limit on failures."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from ldae.cohort.splits import assert_disjoint
from ldae.errors import UserError, require
from ldae.files import read_table

COLUMNS = ["image_id", "subject_id", "path", "scan_id", "status", "stage", "reason"]
STEPS = ("n4", "brain", "registration")
# Stage of the ledger at which each status of the conversion table ends.
_STAGE_OF_STATUS = {
    "no_metadata": "metadata",
    "unsupported": "metadata",
    "rejected_qc": "adni_qc",
    "not_chosen": "selection",
    "failed": "conversion",
}
STAGES = ("metadata", "adni_qc", "selection", "conversion", "exclude", *STEPS, "volumes")


def read_manifests(shards: Mapping[str, Iterable[str | Path]]) -> dict[str, pd.DataFrame]:
    """Read the manifests of all steps of the preprocessing.

    Args:
        shards: By step (``STEPS``): the manifests of its shards.

    Returns:
        By step: columns scan_id, status (ok, failed; skipped: failed in an earlier step), reason,
        seconds.

    Raises:
        UserError: a manifest does not exist, a scan is in two, or a status is unknown.
    """
    manifests = {}
    for step in STEPS:
        tables = [read_table(path, ["scan_id", "status", "reason"]) for path in shards[step]]
        table = pd.concat([part for part in tables if len(part)] or tables[:1], ignore_index=True)
        twice = table.loc[table["scan_id"].duplicated(), "scan_id"]
        require(
            twice.empty,
            f"The scan {next(iter(twice), '')} is in two manifests of {step}: run that step again.",
        )
        unknown = set(table["status"]) - {"ok", "failed", "skipped"}
        require(not unknown, f"Step {step} has unknown status {', '.join(map(str, unknown))}.")
        manifests[step] = table
    return manifests


def read_exclude(path: str | Path | None, scan_ids: set[str]) -> pd.DataFrame:
    """Read a human's verdict: scans to leave out, with a reason each; without a file, none.

    Raises:
        UserError: a scan is not one of ``scan_ids`` (a typing error would leave a bad scan in),
            is there twice, or has no reason.
    """
    if path is None:
        return pd.DataFrame(columns=["scan_id", "reason"])
    table = read_table(path, ["scan_id", "reason"])
    unknown = sorted(set(table["scan_id"]) - scan_ids)
    require(
        not unknown,
        f"{path} names scan(s) that are not in this download: {', '.join(unknown)}. Correct them "
        "or remove the rows.",
    )
    twice = table.loc[table["scan_id"].duplicated(), "scan_id"]
    require(twice.empty, f"{path} names {', '.join(twice)} twice.")
    silent = table.loc[table["reason"].fillna("").astype(str).str.strip() == "", "scan_id"]
    require(silent.empty, f"{path} gives no reason for {', '.join(silent)}.")
    return table


def failed_scans(manifests: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The first step at which each failed scan failed: columns scan_id, step, reason."""
    parts = [
        table.loc[table["status"] == "failed", ["scan_id", "reason"]].assign(step=step)
        for step, table in manifests.items()
    ]
    failed = pd.concat(parts, ignore_index=True).drop_duplicates("scan_id")
    return failed.sort_values("scan_id")[["scan_id", "step", "reason"]].reset_index(drop=True)


def check_failures(manifests: dict[str, pd.DataFrame], max_failed_fraction: float) -> None:
    """Stop when too many scans failed in preprocessing.

    Raises:
        UserError: lists the failed scans, where and why.
    """
    total = len(set().union(*(table["scan_id"] for table in manifests.values())))
    _stop_if_many(failed_scans(manifests), total, "preprocessing", max_failed_fraction)


def check_conversion(conversion: pd.DataFrame, max_failed_fraction: float) -> None:
    """Stop when Clinica could not convert too many of the scans it chose (damaged downloads).

    Raises:
        UserError: lists the failed scans and why.
    """
    chosen = conversion[conversion["status"].isin(["converted", "failed"])]
    failed = chosen[chosen["status"] == "failed"].assign(step="conversion")
    _stop_if_many(failed, len(chosen), "the conversion", max_failed_fraction)


def _stop_if_many(failed: pd.DataFrame, total: int, where: str, limit: float) -> None:
    """``failed``: columns scan_id, step, reason."""
    if len(failed) <= limit * total:
        return
    shown = [f"{row.scan_id} ({row.step}): {row.reason}" for row in failed[:50].itertuples()]
    if len(failed) > 50:
        shown.append(f"and {len(failed) - 50} more")
    raise UserError(
        f"{len(failed)} of {total} scans failed in {where}, more than "
        f"cohort.max_failed_fraction ({limit:g}) allows:\n  "
        + "\n  ".join(shown)
        + "\nMend the cause, or raise that limit to go on without these scans."
    )


def build_ledger(
    conversion: pd.DataFrame,
    scans: pd.DataFrame,
    splits: pd.DataFrame,
    manifests: dict[str, pd.DataFrame],
    volumes: pd.DataFrame,
    excluded: pd.DataFrame,
) -> pd.DataFrame:
    """Say of every image of the download whether it is used, or else where and why it was left.

    Args:
        conversion: From :func:`ldae.cohort.convert.finish_bids`.
        scans: From :func:`ldae.cohort.scans.build_scans`.
        splits: From :func:`ldae.cohort.splits.make_splits`.
        manifests: From :func:`read_manifests`.
        volumes: Index of the volume store (scan_id, participant_id, split).
        excluded: From :func:`read_exclude`.

    Returns:
        Columns ``COLUMNS``: one row an image on disk, status used or excluded, stage one of
        ``STAGES`` (for used images: volumes).

    Raises:
        UserError: the tables contradict each other, so that the counts do not add up.
    """
    images = conversion[conversion["path"].notna()]
    converted = images.loc[images["status"] == "converted", "scan_id"]
    _same(converted, scans["scan_id"], "converted images", "scans of the scan table")
    _same(scans["participant_id"].unique(), splits["participant_id"], "subjects", "split subjects")
    assert_disjoint(splits)
    side = dict(zip(splits["participant_id"], splits["split"], strict=True))
    moved = volumes[volumes["participant_id"].map(side) != volumes["split"]]
    require(
        moved.empty, "The volume store was made with other splits. Run the target `preprocess`."
    )
    failed = {row.scan_id: (row.step, row.reason) for row in failed_scans(manifests).itertuples()}
    verdict = dict(zip(excluded["scan_id"], excluded["reason"], strict=True))
    used = set(volumes["scan_id"])
    rows = []
    for image in images.itertuples():
        if image.status != "converted":
            end = ("excluded", _STAGE_OF_STATUS[image.status], image.reason)
        elif image.scan_id in verdict:
            end = ("excluded", "exclude", verdict[image.scan_id])
        elif image.scan_id in failed:
            end = ("excluded", *failed[image.scan_id])
        else:
            end = ("used", "volumes", "")
        rows.append([image.image_id, image.subject_id, image.path, image.scan_id, *end])
    ledger = pd.DataFrame(rows, columns=COLUMNS)
    _same(
        ledger.loc[ledger["status"] == "used", "scan_id"],
        used,
        "scans without a reason to be left out",
        "scans of the volume store",
    )
    for step, table in manifests.items():
        unseen = sorted(used - set(table.loc[table["status"] == "ok", "scan_id"]))
        require(
            not unseen,
            f"The ledger does not add up: {len(unseen)} used scan(s), such as "
            f"{next(iter(unseen), '')}, did not pass the step {step}. Run the step again.",
        )
    return ledger


def _same(left, right, left_name: str, right_name: str) -> None:
    """Refuse two collections of identifiers that differ, or hold one twice."""
    left, right = list(left), list(right)
    if sorted(left) == sorted(right):
        return
    twice = {name for names in (left, right) for name, n in Counter(names).items() if n > 1}
    odd = sorted(set(left) ^ set(right) | twice)
    raise UserError(
        f"The ledger does not add up: {len(left)} {left_name}, but {len(right)} {right_name}; "
        f"they differ in {', '.join(odd[:5])}{' ...' if len(odd) > 5 else ''}. "
        "Tables of different runs are mixed: run the workflow again from the target `bids`."
    )
