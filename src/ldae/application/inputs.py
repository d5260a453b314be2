"""Scans that a command is given: files, folders, BIDS data sets and tables of paths.

All commands read the same kinds of input. Scans are named as in the workflow's tables where the
file's name has BIDS entities (``sub-01_ses-M000``), otherwise by the file's name.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ldae.application.dicom import is_dicom_folder
from ldae.conversion.download import files_hash
from ldae.conversion.t1w_preference import entities_of, never_taken, rank
from ldae.delimited import delimiter_of, read_delimited
from ldae.errors import UserError, require
from ldae.files import MISSING, sha256

NIFTI = (".nii.gz", ".nii")
# Folders of a BIDS data set whose images are no raw heads of it.
NOT_RAW = {"derivatives", "sourcedata", "code"}
# Spreadsheets of many languages write a CSV with semicolons.
TABLES = {".csv": (",", ";"), ".tsv": ("\t",)}
PATH_COLUMNS = ("path", "file", "filename", "image", "scan")
BRAIN, HEAD = "brain", "head"  # preprocessed scans, and raw heads


@dataclass(frozen=True)
class InputScan:
    """A scan to read.

    Attributes:
        scan_id: Name in every output, unique among the scans of a command.
        path: NIfTI file, or a folder with the DICOM files of a raw head.
        participant: BIDS label of the person (``sub-01``); None where the name has none.
        age, sex: Text of the cells of a table; None where it has none.
    """

    scan_id: str
    path: Path
    participant: str | None
    age: str | None = None
    sex: str | None = None

    def content(self) -> str:
        """Hash of the file; of a folder the names, sizes and times of its files.

        Raises:
            UserError: it does not exist or cannot be read.
        """
        try:
            if self.path.is_dir():
                return files_hash(path for path in self.path.rglob("*") if path.is_file())
            require(self.path.is_file(), f"{self.path} does not exist.")
            return sha256(self.path)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror}).") from error


def find_scans(given: Sequence[Path], kind: str, labels: Sequence[str] = ()) -> list[InputScan]:
    """List the scans of files, folders, BIDS data sets and tables, in the order given.

    Args:
        given: NIfTI files; folders of them; BIDS data sets or derivatives (with
            dataset_description.json); CSV or TSV tables with a column ``path`` (or file, filename,
            image, scan), whose relative paths start at the table. A column ``scan_id`` names the
            scans; ``age`` and ``sex`` are kept.
        kind: ``head`` for raw heads, of which a BIDS data set gives one T1w a session, and a folder
            of DICOM files (without NIfTI) is one; ``brain``
            for preprocessed scans, of which derivatives give the registered brains, called
            ``space-…_desc-brain``.
        labels: Only these participants (``01`` or ``sub-01``); empty: all.

    Raises:
        UserError: an input does not exist or has no scan, a table has no such column, two scans
            have one name, or a participant has no scan.
    """
    scans = [scan for path in given for scan in _of(path, kind)]
    if labels:
        wanted = {f"sub-{label.removeprefix('sub-')}" for label in labels}
        scans = [scan for scan in scans if scan.participant in wanted]
        lost = sorted(wanted - {scan.participant for scan in scans})
        require(not lost, f"No scan of {', '.join(lost)} (--participant-label) in {_names(given)}.")
    first: dict[str, Path] = {}
    for scan in scans:
        other = first.setdefault(scan.scan_id, scan.path)
        require(
            other == scan.path,
            f"{other} and {scan.path} would both be called {scan.scan_id}: rename one, or name "
            "them in a table with the columns scan_id and path.",
        )
    single = list({scan.scan_id: scan for scan in scans}.values())
    if len(single) < len(scans):
        logging.warning("%d scan(s) are named twice, and read once.", len(scans) - len(single))
    return single


def _of(path: Path, kind: str) -> list[InputScan]:
    """Scans of one input."""
    require(path.exists(), f"{path} does not exist: name NIfTI files, folders or tables of paths.")
    if path.is_dir():
        found = _of_bids(path, kind) if (path / "dataset_description.json").is_file() else None
        scans = _of_folder(path) if found is None else found
        if not scans and kind == HEAD and is_dicom_folder(path):
            return [_scan(path)]
        require(
            bool(scans),
            f"{path} has no {'T1w image' if kind == HEAD else 'preprocessed scan'}: expected "
            "*.nii.gz files in it, or a BIDS data set (with dataset_description.json)"
            + (
                ", or DICOM."
                if kind == HEAD
                else " of brains called *_space-*_desc-brain_T1w.nii.gz."
            ),
        )
        return scans
    if path.suffix.lower() in TABLES:
        return _of_table(path)
    require(
        path.name.lower().endswith(NIFTI),
        f"{path} is no NIfTI (.nii, .nii.gz), no folder and no table of paths (.csv, .tsv).",
    )
    return [_scan(path)]


def _of_folder(folder: Path) -> list[InputScan]:
    return [_scan(path) for path in sorted(folder.iterdir()) if path.name.lower().endswith(NIFTI)]


def _of_bids(root: Path, kind: str) -> list[InputScan]:
    """One scan a session of a data set: its preferred T1w, or the preprocessed brain."""
    sessions: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("sub-*_T1w.nii*")):
        entities = entities_of(path.name)
        if kind == HEAD and NOT_RAW & set(path.relative_to(root).parts):
            continue
        if kind == BRAIN:
            fits = entities.get("desc") == "brain" and "space" in entities
        else:
            fits = not entities.keys() & {"desc", "space"} and never_taken(entities, {}) is None
        if fits and path.parent.name == "anat":
            sessions.setdefault(_scan(path).scan_id, []).append(path)
    return [
        _scan(min(paths, key=lambda path: rank(entities_of(path.name))))
        for paths in sessions.values()
    ]


def scan_rows(table: Path) -> tuple[pd.DataFrame, str]:
    """Rows of a table of scans, as text, and the name of its column of paths.

    Raises:
        UserError: it has no row, or no such column.
    """
    rows, _ = read_delimited(table, delimiter_of(table, *TABLES[table.suffix.lower()]))
    require(len(rows) > 0, f"{table} has a header and no row: name a scan on each line.")
    column = next((name for name in PATH_COLUMNS if name in rows.columns), None)
    if column is None:
        raise UserError(
            f"{table} has the columns {', '.join(rows.columns)}: one of them must be called "
            f"{', '.join(PATH_COLUMNS[:-1])} or {PATH_COLUMNS[-1]}, with the paths of the scans."
        )
    return rows, column


def _of_table(table: Path) -> list[InputScan]:
    rows, column = scan_rows(table)
    cells = [_cells(rows, name) for name in ("scan_id", "age", "sex")]
    return list(_rows(table, rows[column], *cells))


def _cells(rows: pd.DataFrame, column: str) -> list[str | None]:
    """Text of a column's cells, None for an empty one or n/a; all None without the column."""
    if column not in rows:
        return [None] * len(rows)
    return [None if text in ("", MISSING) else text for text in rows[column]]


def _rows(
    table: Path,
    paths: Iterable[str],
    names: Iterable[str | None],
    ages: Iterable[str | None],
    sexes: Iterable[str | None],
) -> Iterator[InputScan]:
    cells = zip(paths, names, ages, sexes, strict=True)
    for number, (path, name, age, sex) in enumerate(cells, start=2):
        require(
            isinstance(path, str) and bool(path.strip()),
            f"{table}, line {number}: the path is empty.",
        )
        yield replace(_scan(table.parent / path, name), age=age, sex=sex)


def _scan(path: Path, name: str | None = None) -> InputScan:
    """A scan called ``name``, by its BIDS subject and session, or by its file name."""
    entities = entities_of(path.name)
    labels = [f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities]
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    participant = f"sub-{entities['sub']}" if "sub" in entities else None
    return InputScan(name or "_".join(labels) or stem, path, participant)


def _names(given: Sequence[Path]) -> str:
    return ", ".join(map(str, given))
