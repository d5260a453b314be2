"""Ledger of images: the outcome of every image, from the download to the models."""

from collections import Counter
from collections.abc import Collection, Mapping

import pandas as pd

from ldae.cohort.ratings import EXCLUDE
from ldae.cohort.splits import assert_disjoint
from ldae.derivatives import OK, RAW_STEPS, STEPS, lost_scans
from ldae.errors import UserError, require

COLUMNS = [
    "cohort", "image_id", "subject_id", "path", "scan_id", "status", "stage", "reason", "split",
    "lacks",
]  # fmt: skip
STAGES = (
    "file", "metadata", "adni_qc", "selection", "conversion", "duplicate", *STEPS, "qc", "exclude",
    "volumes",
)  # fmt: skip
# Stage at which each status of the conversion table ends.
_STAGE_OF_STATUS = {
    "unrecognised": "file",
    "corrupt": "file",
    "no_metadata": "metadata",
    "unsupported": "metadata",
    "rejected_qc": "adni_qc",
    "not_chosen": "selection",
    "failed": "conversion",
}
_LACKS = {
    (True, False): "diagnosis",
    (False, True): "age",
    (True, True): "diagnosis and age",
}


def build_ledger(
    conversion: pd.DataFrame,
    duplicates: pd.DataFrame,
    scans: pd.DataFrame,
    splits: pd.DataFrame,
    manifests: Mapping[str, pd.DataFrame],
    volumes: pd.DataFrame,
    decisions: pd.DataFrame,
    preprocessed: Collection[str] = (),
    instead: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Record for every image its split if it is used, or the stage and reason of its exclusion.

    An image is excluded at the first stage that it does not pass. One exception: a rater's
    decision precedes our quality control. A scan without diagnosis or age is used nevertheless,
    since representations are learnt without labels; ``lacks`` names what is missing.

    Args:
        conversion: conversion.tsv; its rows with a path are the images on disk.
        duplicates: scan_id, duplicate_of, reason: converted scans left out of ``scans``.
        scans: Scan table.
        splits: participant_id, split.
        manifests: From :func:`ldae.derivatives.read_manifests`.
        volumes: Index of the volume store (scan_id, participant_id, split).
        decisions: From :func:`ldae.cohort.ratings.read_decisions`.
        preprocessed: Cohorts whose scans came preprocessed and do not pass ``RAW_STEPS``.
        instead: From :func:`ldae.conversion.downloaded_scans.instead_of`: by image, a sentence on
            the image in whose place it was taken; the reason of such an image, if it is used.

    Returns:
        Columns ``COLUMNS``, one row an image on disk. status is used or excluded; stage is one of
        ``STAGES`` (volumes for used images). reason, split and lacks are n/a where they do not
        apply.

    Raises:
        UserError: the tables contradict each other: the counts do not add up.
    """
    images = conversion[conversion["path"].notna()]
    _check_inputs(images, duplicates, scans, splits, manifests, volumes, preprocessed)
    split_of = dict(zip(volumes["scan_id"], volumes["split"], strict=True))
    lost = {row.scan_id: (row.step, row.reason) for row in lost_scans(manifests).itertuples()}
    decided = {row.scan_id: (row.verdict, row.reason) for row in decisions.itertuples()}
    copies = dict(zip(duplicates["scan_id"], duplicates["reason"], strict=True))
    lacks = {
        row.scan_id: _LACKS.get((pd.isna(row.diagnosis), pd.isna(row.age)))
        for row in scans.itertuples()
    }

    def end(image) -> tuple[str, str | None]:
        """Stage and reason; ``volumes``, and mostly no reason, for an image that is used."""
        scan = image.scan_id
        if image.status != "converted":
            return _STAGE_OF_STATUS[image.status], image.reason
        if scan in copies:
            return "duplicate", copies[scan]
        decision, why = decided.get(scan, (None, None))
        step, reason = lost.get(scan, (None, None))
        if step in STEPS or (step == "qc" and decision is None):
            return step, reason
        if decision == EXCLUDE:
            return "exclude", why
        return "volumes", (instead or {}).get(image.image_id)

    rows = []
    for image in images.itertuples():
        stage, reason = end(image)
        used = stage == "volumes"
        outcome = ("used" if used else "excluded", stage, reason)
        about = (split_of.get(image.scan_id) if used else None, lacks.get(image.scan_id))
        rows.append([*(getattr(image, name) for name in COLUMNS[:5]), *outcome, *about])
    ledger = pd.DataFrame(rows, columns=COLUMNS)
    _same(
        ledger.loc[ledger["status"] == "used", "scan_id"],
        volumes["scan_id"],
        "scans that no stage excluded",
        "scans of the volume store",
    )
    return ledger


def check_images(ledger: pd.DataFrame, images: pd.DataFrame, cohort: str) -> None:
    """Check that the ledger has exactly the images found in the download.

    Args:
        ledger: From :func:`build_ledger`.
        images: Table of all images on disk (image_id, path), made before the conversion.
        cohort: Cohort of these images.

    Raises:
        UserError: an image is missing, added or counted twice.
    """
    of_cohort = ledger[ledger["cohort"] == cohort]
    # Neither key is unique: a path may be a folder of several images, an identifier may be n/a.
    entered, found = (
        Counter(table["image_id"].fillna("n/a") + " in " + table["path"])
        for table in (of_cohort, images)
    )
    odd = sorted((entered - found) + (found - entered))
    if odd:
        raise _mixed(entered.total(), "images entered", found.total(), "images on disk", odd)


def _check_inputs(
    images: pd.DataFrame,
    duplicates: pd.DataFrame,
    scans: pd.DataFrame,
    splits: pd.DataFrame,
    manifests: Mapping[str, pd.DataFrame],
    volumes: pd.DataFrame,
    preprocessed: Collection[str],
) -> None:
    """Refuse tables of different runs."""
    unknown = sorted(set(images["status"]) - {"converted", *_STAGE_OF_STATUS})
    require(not unknown, f"The conversion table has unknown status {', '.join(unknown)}.")
    converted = images.loc[images["status"] == "converted", "scan_id"]
    indexed = [*scans["scan_id"], *duplicates["scan_id"]]
    _same(converted, indexed, "converted images", "scans of the scan table and its duplicates")
    _same(scans["participant_id"].unique(), splits["participant_id"], "subjects", "split subjects")
    assert_disjoint(splits)
    assert_disjoint(volumes)
    split_of = dict(zip(splits["participant_id"], splits["split"], strict=True))
    moved = volumes[volumes["participant_id"].map(split_of) != volumes["split"]]
    require(
        moved.empty, "The volume store was made with other splits. Run the target `preprocess`."
    )
    elsewhere = set(scans.loc[scans["cohort"].isin(list(preprocessed)), "scan_id"])
    for step in (step for step in manifests if step != "registration"):  # its QC may be overruled
        passed = manifests[step].loc[manifests[step]["status"] == OK, "scan_id"]
        exempt = elsewhere if step in RAW_STEPS else set()
        not_passed = sorted(set(volumes["scan_id"]) - exempt - set(passed))
        require(
            not not_passed,
            f"The ledger does not add up: {len(not_passed)} used scan(s), such as "
            f"{next(iter(not_passed), '')}, did not pass the step {step}. Run the step again.",
        )
    absent = sorted(set(scans["scan_id"]) - set(manifests["registration"]["scan_id"]))
    require(
        not absent,
        f"The ledger does not add up: {len(absent)} scan(s), such as {next(iter(absent), '')}, are "
        "in no manifest of the step registration. Run the step again.",
    )


def _same(left, right, left_name: str, right_name: str) -> None:
    """Refuse two collections of identifiers that differ or have repeats."""
    left, right = list(left), list(right)
    twice = {name for names in (left, right) for name, n in Counter(names).items() if n > 1}
    odd = sorted(set(left) ^ set(right) | twice)
    if odd:
        raise _mixed(len(left), left_name, len(right), right_name, odd)


def _mixed(left: int, left_name: str, right: int, right_name: str, odd: list[str]) -> UserError:
    return UserError(
        f"The ledger does not add up: {left} {left_name}, but {right} {right_name}; "
        f"they differ in {', '.join(odd[:5])}{' ...' if len(odd) > 5 else ''}. "
        "Tables of different runs are mixed: run the workflow again from the target `bids`."
    )
