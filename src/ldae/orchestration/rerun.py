"""Letting images that failed in the conversion be tried again.

Letting scans be preprocessed again: those that failed, in quarantine, or any by name.
"""

from collections.abc import Sequence
from pathlib import Path

from ldae.derivatives import FAILED, ScanFiles, read_manifest
from ldae.errors import require
from ldae.files import read_table

# Made of the conversion tables: without these a run looks for what is missing.
_AFTER = (
    "cohort/conversion.tsv", "cohort/scans.tsv", "cohort/ledger.tsv", "preproc/quarantine.tsv",
)  # fmt: skip


def reset_failed_conversions(results: str | Path) -> list[str]:
    """Forget the conversion of every batch or data set of which an image failed.

    Deletes its conversion table and the stamp by which an unchanged batch is kept, and the tables
    that are made of it, so that the next run converts these batches again, and only them.

    Args:
        results: The results folder.

    Returns:
        Names of the parts (``ADNI-7``, ``OASIS3``) that will be converted again, sorted.
    """
    results, forgotten = Path(results), []
    for path in sorted((results / "cohort/parts").glob("*.tsv")):
        if (read_table(path, ["status"])["status"] == "failed").any():
            (results / "bids_parts" / path.stem / "stamp.json").unlink(missing_ok=True)
            path.unlink()
            forgotten.append(path.stem)
    for name in _AFTER if forgotten else ():
        (results / name).unlink(missing_ok=True)
    return forgotten


def retry(results: str | Path, scan_ids: Sequence[str] | None = None) -> list[str]:
    """Let what failed be tried again by the next run: conversions too, unless scans are named.

    Args:
        results: The results folder.
        scan_ids: Only these, which failed in preprocessing; None: all that failed anywhere.

    Returns:
        What was done, in sentences.

    Raises:
        UserError: see :func:`release`; not where there is a conversion to try again.
    """
    parts = reset_failed_conversions(results) if scan_ids is None else []
    done = [f"{len(parts)} part(s) will be converted again: {', '.join(parts)}"] if parts else []
    preproc = Path(results) / "preproc"
    if parts and not (preproc / "manifests").is_dir():
        return done
    released = release(preproc, scan_ids)
    return [*done, f"{len(released)} scan(s) released: {', '.join(released) or 'none had failed'}"]


def release(preproc_dir: str | Path, scan_ids: Sequence[str] | None = None) -> list[str]:
    """Let failed scans out of quarantine, so that the next run tries them, and only them, again.

    Deletes their stamps, the manifests of their shards, and the table of the quarantine, which
    makes the workflow run those shards' steps; every other scan of the shards is done already.
    Scans that finished but are outside the bounds of QC stay: they would come out the same.

    Args:
        preproc_dir: Folder of the preprocessing.
        scan_ids: Only these; None: all that failed.

    Returns:
        The scans released.

    Raises:
        UserError: nothing has been preprocessed there, or a scan asked for has not failed.
    """
    preproc_dir = Path(preproc_dir)
    found = sorted((preproc_dir / "manifests").glob("*/shard-*.tsv"))
    require(
        bool(found),
        f"There are no manifests in {preproc_dir / 'manifests'}: run `snakemake preprocess` first.",
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


def redo(results: str | Path, scan_ids: Sequence[str]) -> None:
    """Let the next run preprocess scans again, from their converted images on, and no others.

    Args:
        results: The results folder.
        scan_ids: Whether they came out well or failed.

    Raises:
        UserError: no shard has a scan, naming it; then nothing is done.
    """
    results = Path(results)
    # Not the manifests: those of a shard are gone once a scan of it is to be done again.
    shards = {
        scan: path.name
        for path in sorted((results / "cohort/shards").glob("shard-*.tsv"))
        for scan in read_table(path, ["scan_id"])["scan_id"]
    }
    absent = sorted(set(scan_ids) - set(shards))
    require(
        not absent,
        f"{', '.join(absent)}: in no table of {results / 'cohort/shards'}. Name scans as the table "
        "cohort/scans.tsv does, such as sub-ADNI002S0413_ses-M000, of a cohort that has been "
        "preprocessed.",
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
    """Delete the manifests of shards, and the table that is asked for and made of them."""
    for shard in shards:
        for path in (preproc_dir / "manifests").glob(f"*/{shard}"):
            path.unlink()
    if shards:
        (preproc_dir / "quarantine.tsv").unlink(missing_ok=True)


def _failed(manifest: Path) -> list[str]:
    table = read_manifest(manifest)
    return table.loc[table["status"] == FAILED, "scan_id"].tolist()
