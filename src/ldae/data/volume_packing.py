"""Packing of a shard's registered scans into one array file; only changed scans are packed again.

Every registered scan is packed, also one that the QC or a rater excludes.
:mod:`ldae.data.volume_index` selects the scans that are used.
"""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.data.store import create_array
from ldae.data.thumbnails import thumbnail
from ldae.data.volume_transform import StoreTransform, to_stored
from ldae.derivatives import (
    FAILED,
    MANIFEST_COLUMNS,
    OK,
    REGISTERED,
    SKIPPED,
    ScanFiles,
    scan_files,
)
from ldae.errors import UserError, require
from ldae.files import atomic, flush, read_json, sha256, write_json, write_table
from ldae.locks import locked
from ldae.progress import Progress

GRID_TOLERANCE = 1e-3  # mm
SETTINGS = ("spacing", "shape", "interpolation", "dtype")
log = logging.getLogger(__name__)


class _Earlier:
    """Array and records of an earlier run of the shard, as far as they are valid and intact."""

    def __init__(self, array: Path, stamp: Path, key: dict[str, Any]):
        self.card: dict[str, Any] | None = None
        self.affine: np.ndarray | None = None
        self._rows: dict[tuple[str, str], int] = {}
        if not (array.is_file() and stamp.is_file()):
            return
        try:
            card = read_json(stamp)
            if card["key"] != key:
                return
            self._array = np.load(array, mmap_mode="r")
        except (ValueError, EOFError):
            log.warning("%s or %s is damaged; it is packed anew", array, stamp)
            return
        if [len(self._array), *self._array.shape[2:]] != [len(card["scans"]), *key["shape"]]:
            return
        self.card = card
        self.affine = None if card["affine"] is None else np.asarray(card["affine"])
        self._rows = {(scan["scan_id"], scan["image"]): n for n, scan in enumerate(card["scans"])}

    def same(self, files: list[ScanFiles], images: list[str]) -> bool:
        """Whether exactly these scans were packed, in this order, and all are intact."""
        wanted = list(zip([scan.scan_id for scan in files], images, strict=True))
        return wanted == list(self._rows) and all(self.row(*scan) for scan in wanted)

    def row(self, scan_id: str, image: str) -> tuple[np.ndarray, dict[str, Any]] | None:
        """Array (1, X, Y, Z) and record of a scan packed from the same image, if intact.

        An image that could not be used is tried again: the disk may have failed for a moment.
        """
        number = self._rows.get((scan_id, image))
        if number is None or self.card["scans"][number]["reason"]:
            return None
        array, record = self._array[number], self.card["scans"][number]
        return (array, record) if hashlib.sha256(array).hexdigest() == record["sha256"] else None


def pack_shard(
    scans: pd.DataFrame,
    manifest: pd.DataFrame,
    preproc_dir: Path,
    out: Path,
    cfg: dict[str, Any],
    template: str,
    source: str = "",
) -> dict[str, Any]:
    """Bring ``shard-{k}.npy`` up to date and describe it in ``shard-{k}.json``.

    The workflow deletes ``out`` before it runs the job again, but not the array and a hidden copy
    of the description. Rows are copied from them if the scan's registered image, the settings and
    the source are the same. The result does not depend on what was there before.

    Args:
        scans: Rows of scans.tsv of the shard.
        manifest: Manifest of the shard's registration (scan_id, status).
        preproc_dir: Folder of the preprocessed derivatives.
        out: ``.../shards/shard-{k}.json``; the array goes beside it.
        cfg: ``config["volumes"]``: spacing (mm), shape, interpolation, dtype.
        template: Name of the template space in file names.
        source: Fingerprint of the code; with another one every scan is packed again.

    Returns:
        The description written: key (settings and source), affine (4, 4), and scans in the order of
        the rows. Of each scan: scan_id, image (SHA-256 of the registered file), sha256 (of the
        row), look (:mod:`ldae.data.thumbnails`) and reason. The reason is empty unless the image
        cannot be used; then its row is zero.

    Raises:
        UserError: scans, manifest and images do not match, or images lie on different grids.
    """
    with locked(out.with_name(f".{out.name}.lock"), str(out)):
        array_file, stamp = out.with_suffix(".npy"), out.with_name(f".{out.name}")
        key = {name: cfg[name] for name in SETTINGS} | {"source": source}
        files = _registered(scans, manifest, preproc_dir, template)
        images = [sha256(scan.registered_brain) for scan in files]
        earlier = _Earlier(array_file, stamp, key)
        card = earlier.card
        if card is not None and earlier.same(files, images):
            log.info("%s: %d scans, none has changed", out.stem, len(files))
        else:
            card = {"key": key, **_pack(files, images, earlier, array_file, key)}
            write_json(card, stamp)
        write_json(card, out)
        flush(out)
        return card


def write_manifest(scans: pd.DataFrame, card: dict[str, Any], path: str | Path) -> None:
    """Write the manifest of a shard's packing: scan_id, status, reason.

    Args:
        scans: Rows of scans.tsv of the shard.
        card: The description from :func:`pack_shard`.
        path: Manifest to write. Status: ok; failed (the image cannot be used); skipped (there is
            no registered image).
    """
    reasons = {scan["scan_id"]: scan["reason"] for scan in card["scans"]}
    rows = [
        (scan_id, FAILED if reasons[scan_id] else OK, reasons[scan_id] or None)
        if scan_id in reasons
        else (scan_id, SKIPPED, None)
        for scan_id in scans["scan_id"]
    ]
    write_table(pd.DataFrame(rows, columns=MANIFEST_COLUMNS[:3]), path)


def _pack(
    files: list[ScanFiles],
    images: list[str],
    earlier: _Earlier,
    out: Path,
    key: dict[str, Any],
) -> dict[str, Any]:
    """Write a new array; returns its affine and the records of its rows."""
    records: list[dict[str, Any]] = []
    affine: np.ndarray | None = None
    shape = (len(files), 1, *key["shape"])
    repacked = 0
    with atomic(out) as temporary:
        array = create_array(temporary, key["dtype"], shape)
        rows = _rows(files, images, earlier, key)
        progress = Progress(out.stem, len(files))
        for number, (row, record, found, is_new) in enumerate(rows):
            array[number] = row
            records.append(record)
            affine = found if affine is None else affine
            require(
                found is None or np.allclose(found, affine, atol=GRID_TOLERANCE),
                f"{files[number].registered_brain} lies on another grid than the scans before it. "
                "Run the target `preprocess` again.",
            )
            repacked += is_new
            progress.step(number + 1, packed=repacked)
        array.flush()
        del array
        flush(temporary)
    log.info("%s: %d scans, of which %d packed anew", out.stem, len(files), repacked)
    return {
        "affine": None if affine is None else np.asarray(affine).round(6).tolist(),
        "scans": records,
    }


def _registered(
    scans: pd.DataFrame, manifest: pd.DataFrame, preproc_dir: Path, template: str
) -> list[ScanFiles]:
    """Files of the shard's registered scans, in the order of scan_id."""
    status = manifest.set_index("scan_id")["status"]
    absent = sorted(set(scans["scan_id"]) - set(status.index))
    require(
        not absent,
        f"{len(absent)} scans are in no registration manifest (first: "
        f"{absent[0] if absent else ''}). Run the target `preprocess` again.",
    )
    scans = scans[scans["scan_id"].map(status).isin(REGISTERED)].sort_values("scan_id")
    files = scan_files(scans, preproc_dir, template)
    missing = [scan.registered_brain for scan in files if not scan.registered_brain.is_file()]
    require(
        not missing,
        f"{len(missing)} registered images are missing although their manifest says ok, first "
        f"{missing[0] if missing else ''}. Delete the manifest of their shard below "
        "preproc/manifests/registration and run the target `preprocess` again.",
    )
    return files


def _rows(
    files: list[ScanFiles], images: list[str], earlier: _Earlier, key: dict[str, Any]
) -> Iterator[tuple[np.ndarray, dict[str, Any], np.ndarray | None, bool]]:
    """Array, record, affine (None for an unusable image) of each scan, and whether it is new."""
    transform: StoreTransform | None = None
    for scan, image in zip(files, images, strict=True):
        found = earlier.row(scan.scan_id, image)
        if found is not None:
            array, record = found
            yield array, record, earlier.affine, False
            continue
        transform = transform or StoreTransform(key["spacing"], key["shape"], key["interpolation"])
        try:
            volume, affine = transform(scan.registered_brain)
            array, reason = to_stored(volume, key["dtype"]), ""
        except UserError as error:
            array, affine, reason = np.zeros((1, *key["shape"]), key["dtype"]), None, str(error)
            log.warning("%s: %s", scan.scan_id, reason)
        checksum = hashlib.sha256(array).hexdigest()
        record = {
            "scan_id": scan.scan_id,
            "image": image,
            "sha256": checksum,
            "look": thumbnail(array),
        }
        record["reason"] = reason
        yield array, record, affine, True
