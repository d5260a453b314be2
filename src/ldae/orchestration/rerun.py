"""Reruns: reset failed conversions, failed scans, or scans by name for the next run.

A reset deletes the stamps and tables by which the workflow skips finished work.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ldae.derivatives import FAILED, ScanFiles, read_manifest
from ldae.errors import require
from ldae.files import read_table

# Made from the conversion tables. Snakemake remakes a deleted one only if these are absent as well.
_AFTER = (
    "cohort/conversion.tsv", "cohort/scans.tsv", "cohort/ledger.tsv", "preproc/quarantine.tsv",
)  # fmt: skip


def reset_failed_conversions(results: str | Path) -> list[str]:
    """Reset the conversion of every batch or data set in which an image failed.

    Deletes its conversion table, the stamp by which an unchanged batch is skipped, and the tables
    made from all of them. The next run then converts these batches again, and no others.

    Args:
        results: The results folder.

    Returns:
        Names of the batches and data sets (``ADNI-7``, ``OASIS3``) to be converted again, sorted.
    """
    results, reset = Path(results), []
    for path in sorted((results / "cohort/parts").glob("*.tsv")):
        if (read_table(path, ["status"])["status"] == "failed").any():
            study = results / "studies" / path.stem
            if study.is_dir():  # made of a raw download, which may have been mended
                shutil.rmtree(study)
            (results / "bids_parts" / path.stem / "stamp.json").unlink(missing_ok=True)
            path.unlink()
            reset.append(path.stem)
    for name in _AFTER if reset else ():
        (results / name).unlink(missing_ok=True)
    return reset


def reset_failed(results: str | Path, scan_ids: Sequence[str] | None = None) -> list[str]:
    """Reset failed scans and failed conversions, so that the next run retries them.

    Args:
        results: The results folder.
        scan_ids: Only these scans, which failed in preprocessing, and no conversion; None: all
            that failed.

    Returns:
        Sentences that say what was reset.

    Raises:
        UserError: as :func:`reset_failed_scans`; not if a conversion was reset and nothing has been
            preprocessed yet.
    """
    parts = reset_failed_conversions(results) if scan_ids is None else []
    done = [f"{len(parts)} conversion(s) will be retried: {', '.join(parts)}"] if parts else []
    preproc = Path(results) / "preproc"
    if parts and not (preproc / "manifests").is_dir():
        return done
    released = reset_failed_scans(preproc, scan_ids)
    return [*done, f"{len(released)} scan(s) will be retried: {', '.join(released) or 'none'}"]


def reset_failed_scans(preproc_dir: str | Path, scan_ids: Sequence[str] | None = None) -> list[str]:
    """Reset failed scans, so that the next run preprocesses them, and no others, again.

    Deletes their stamps, the manifests of their shards, and ``quarantine.tsv``. The workflow then
    runs the steps of those shards, which skip every other scan. Scans that finished but are outside
    the bounds of QC stay as they are: they would come out the same.

    Args:
        preproc_dir: Folder of the preprocessing.
        scan_ids: Only these scans; None: all that failed.

    Returns:
        The scans that were reset.

    Raises:
        UserError: nothing has been preprocessed there, or a named scan has not failed.
    """
    preproc_dir = Path(preproc_dir)
    found = sorted((preproc_dir / "manifests").glob("*/shard-*.tsv"))
    require(
        bool(found),
        f"There are no manifests in {preproc_dir / 'manifests'}: run the target `preprocess` "
        "first.",
    )
    failed = [
        (scan_id, path)
        for path in found
        for scan_id in _failed(path)
        if scan_ids is None or scan_id in scan_ids
    ]
    absent = sorted(set(scan_ids or ()) - {scan_id for scan_id, _ in failed})
    require(
        not absent,
        f"{', '.join(absent)}: not among the failed scans of {preproc_dir}; they are listed in "
        f"{preproc_dir / 'quarantine.tsv'}.",
    )
    for scan_id, path in failed:
        # An image that could not be packed has to be registered again.
        step = "registration" if path.parent.name == "pack" else path.parent.name
        _stamp(preproc_dir, scan_id, step).unlink(missing_ok=True)
    _reset_shards(preproc_dir, {path.name for _, path in failed})
    return sorted({scan_id for scan_id, _ in failed})


def reset_scans(results: str | Path, scan_ids: Sequence[str]) -> None:
    """Reset scans, so that the next run preprocesses them again from their converted images.

    Args:
        results: The results folder.
        scan_ids: Scans to reset, finished or failed; no others are preprocessed again.

    Raises:
        UserError: a scan is in no shard; then nothing is reset.
    """
    results = Path(results)
    # Not from the manifests: a shard has none once one of its scans has been reset.
    shards = {
        scan: path.name
        for path in sorted((results / "cohort/shards").glob("shard-*.tsv"))
        for scan in read_table(path, ["scan_id"])["scan_id"]
    }
    absent = sorted(set(scan_ids) - set(shards))
    require(
        not absent,
        f"{', '.join(absent)}: in no table of {results / 'cohort/shards'}. Name scans as the "
        "column scan_id of cohort/scans.tsv does, such as sub-ADNI002S0413_ses-M000.",
    )
    for scan in scan_ids:
        for step in ("n4", "brain", "registration"):
            _stamp(results / "preproc", scan, step).unlink(missing_ok=True)
    _reset_shards(results / "preproc", {shards[scan] for scan in scan_ids})


def _stamp(preproc_dir: Path, scan_id: str, step: str) -> Path:
    participant, session = scan_id.split("_")[:2]
    folder = preproc_dir / participant / session / "anat"
    return ScanFiles(scan_id, Path(), folder, "").stamp(step)


def _reset_shards(preproc_dir: Path, shards: set[str]) -> None:
    """Delete the manifests of shards, and ``quarantine.tsv``, which is made from them."""
    for shard in shards:
        for path in (preproc_dir / "manifests").glob(f"*/{shard}"):
            path.unlink()
    if shards:
        (preproc_dir / "quarantine.tsv").unlink(missing_ok=True)


def _failed(manifest: Path) -> list[str]:
    table = read_manifest(manifest)
    return table.loc[table["status"] == FAILED, "scan_id"].tolist()
