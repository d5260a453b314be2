"""Image index of a download: path, format and fault of every image."""

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from ldae.conversion.download import (
    PTID,
    files_hash,
    find_folders,
    is_folder,
    read_content,
    read_name,
)
from ldae.conversion.image_checks import dicom_contrast, dicom_fault, nifti_fault
from ldae.files import sha256
from ldae.progress import Progress

COLUMNS = ["image_id", "subject_id", "path", "format", "files", "status", "reason", "content"]


@dataclass(frozen=True)
class _File:
    """A file of an image, or perhaps of one; ``number`` is the ImageUID if its name has one."""

    path: Path
    number: str | None
    format: str


def index_images(images: str | Path, listed: Collection[str], jobs: int = 1) -> pd.DataFrame:
    """List every image of the download and check those that may be converted.

    Args:
        images: The image folder; subjects' folders may lie up to three levels down.
        listed: Identifiers (``I40001``) of the images to check: those that Clinica may choose.
        jobs: Parallel processes.

    Returns:
        One row per image identifier and subject, sorted by both. Columns:

        - image_id (``I40001``), subject_id (PTID; n/a if no name has one)
        - path (relative to ``images``; the folder of a DICOM series, else the file)
        - format (dicom, nifti, other), files (their number)
        - status (n/a: no fault found; corrupt; not_chosen: taken with contrast agent), reason
        - content (hash of names, sizes and modification times of the files)

        Files without an identifier in their names have one row per folder: image_id n/a, status
        unrecognised. DICOM files are found by their content where their names do not show it. XML
        and other files that are no images have no row.

    Raises:
        UserError: the image folder does not exist or cannot be opened.
    """
    images = Path(images)
    folders = find_folders(images)
    loose: dict[str | None, list[Path]] = {}
    for path in folders.elsewhere:
        for file in _walk(path):
            names = PTID.findall(str(file.relative_to(images)))
            loose.setdefault(names[-1].upper() if names else None, []).append(file)
    subjects = sorted({*folders.subjects, *loose} - {None})
    if None in loose:
        subjects.append(None)
    places = [[*folders.subjects.get(name, ()), *loose.get(name, ())] for name in subjects]
    work = partial(_index_subject, images, frozenset(listed))
    progress, rows = Progress("subjects", len(subjects)), []
    with ExitStack() as stack:
        parts = map(work, subjects, places)
        if jobs > 1:
            pool = stack.enter_context(ProcessPoolExecutor(jobs))
            parts = pool.map(work, subjects, places, chunksize=4)
        for done, part in enumerate(parts, 1):
            rows += part
            progress.step(done)
    return pd.DataFrame(rows, columns=COLUMNS)


def _walk(path: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Every file at or below ``path``, links followed (not in circles); unreadable folders too."""
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises without permission)
        yield path
        return
    real = os.path.realpath(path)
    if real in above:
        return
    try:
        with os.scandir(path) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield path
        return
    for entry in children:
        if is_folder(entry):
            yield from _walk(Path(entry.path), (*above, real))
        else:
            yield Path(entry.path)


def _index_subject(
    images: Path, listed: frozenset[str], ptid: str | None, places: list[Path]
) -> list[dict]:
    """Rows of one subject; ``ptid`` None: of files whose path names no subject."""
    known: dict[str, list[_File]] = {}
    nameless: dict[Path, list[_File]] = {}
    for place in places:
        for path in _walk(place):
            if os.path.isdir(path):  # noqa: PTH112 (a folder that cannot be opened)
                nameless.setdefault(path, [])
            elif found := read_name(path.name) or read_content(path):
                file = _File(path, *found)
                if file.number:
                    known.setdefault(file.number, []).append(file)
                else:
                    nameless.setdefault(path.parent, []).append(file)
    rows = [
        _image_row(images, ptid, f"I{number}", known[number], f"I{number}" in listed)
        for number in sorted(known, key=int)
    ]
    return rows + [_nameless_row(images, ptid, *item) for item in sorted(nameless.items())]


def _image_row(
    images: Path, ptid: str | None, image_id: str, files: list[_File], check: bool
) -> dict:
    places: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        where = file.path if file.format == "nifti" else file.path.parent
        places.setdefault((where, file.format), []).append(file.path)
    (where, kind), paths = min(places.items())
    if kind == "other" and len(paths) == 1:
        where = paths[0]
    status = reason = None
    if check and ptid:
        reason = _places_fault(list(places.values())) or _fault(kind, sorted(paths), ptid)
        status = "corrupt" if reason else None
        if reason is None and kind == "dicom":
            reason = dicom_contrast(min(paths))
            status = "not_chosen" if reason else None
    return {
        "image_id": image_id,
        "subject_id": ptid,
        "path": _relative(where, images),
        "format": kind,
        "files": len(paths),
        "status": status,
        "reason": reason,
        "content": files_hash(paths),
    }


def _fault(kind: str, paths: list[Path], ptid: str) -> str | None:
    if any("\\x" in _relative(path, path.anchor) for path in paths):
        return "The file's path is not UTF-8 text. Rename it."
    if any(name.upper() != ptid for path in paths for name in PTID.findall(path.name)):
        return "The file's name has another subject than its folder."
    if kind == "dicom":
        return dicom_fault(paths, ptid)
    if kind == "nifti":
        return nifti_fault(paths[0])
    if all(read_name(path.name) is None for path in paths):
        return "The files are DICOM, but their names do not end in .dcm. Rename them so."
    return "The file is not DICOM (.dcm) or NIfTI (.nii), which alone are converted."


def _places_fault(places: list[list[Path]]) -> str | None:
    """Fault of an image whose files in several places differ or cannot be read, or None."""
    if len(places) == 1:
        return None
    try:
        contents = {tuple(sorted(map(sha256, paths))) for paths in places}
    except OSError as error:
        return f"The image is there {len(places)} times, once unreadable ({error.strerror})."
    if len(contents) == 1:
        return None
    return f"The image is there {len(places)} times with different content."


def _why_closed(folder: Path) -> str:
    try:
        os.scandir(folder).close()
    except OSError as error:
        return error.strerror or type(error).__name__
    return "for a while"


def _nameless_row(images: Path, ptid: str | None, folder: Path, files: list[_File]) -> dict:
    if not files:
        reason = f"The folder cannot be opened ({_why_closed(folder)})."
    elif all(read_name(file.path.name) is None for file in files):
        reason = "The files are DICOM, but their names do not end in _I<ImageUID>.dcm."
    elif all(file.format == "other" for file in files):
        reason = "Archives that are not unpacked, or images of a format that is not converted."
    else:
        reason = "The files' names do not end in _I<ImageUID>, by which ADNI's tables know images."
    path = files[0].path if len(files) == 1 else folder
    return {
        "image_id": None,
        "subject_id": ptid,
        "path": _relative(path, images),
        "format": files[0].format if files else "other",
        "files": len(files),
        "status": "unrecognised",
        "reason": reason,
        "content": files_hash([file.path for file in files]),
    }


def _relative(path: Path, images: Path) -> str:
    """The path below the image folder as valid UTF-8 text (other bytes become ``\\xNN``)."""
    return os.fsencode(path.relative_to(images)).decode("utf-8", "backslashreplace")
