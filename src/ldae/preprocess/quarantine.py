"""Letting scans that failed a step out of quarantine, to be tried again."""

from collections.abc import Sequence
from pathlib import Path

from ldae.derivatives import ScanFiles
from ldae.errors import require
from ldae.preprocess.batch import FAILED, read_manifests


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
        participant, session = scan_id.split("_")[:2]
        folder = preproc_dir / participant / session / "anat"
        ScanFiles(scan_id, Path(), folder, "").stamp(path.parent.name).unlink(missing_ok=True)
    for shard in {path.name for _, path in failed}:
        for path in (preproc_dir / "manifests").glob(f"*/{shard}"):
            path.unlink()
    if failed:
        (preproc_dir / "quarantine.tsv").unlink(missing_ok=True)
    return sorted({scan_id for scan_id, _ in failed})


def _failed(manifest: Path) -> list[str]:
    table = read_manifests([manifest])
    return table.loc[table["status"] == FAILED, "scan_id"].tolist()
