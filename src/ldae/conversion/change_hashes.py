"""Change hashes of the input folders, computed at every start of the workflow."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ldae.conversion.download import _entries, files_hash, find_folders, image_files, is_folder
from ldae.files import digest, read_table


def bids_hash(root: str | Path) -> str:
    """Hash a BIDS data set: changes when images are added or removed, or a table is edited.

    The hash covers the names and modification times of the images' folders, and of all tables and
    JSON files above them; the time of the data set's folder does not show changes below it.
    ``absent`` if there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        return "absent"
    above = ("", "sub-*/", "sub-*/ses-*/")
    patterns = [f"{folder}*.{kind}" for folder in above for kind in ("tsv", "json")]
    patterns += [
        f"sub-*/{session}anat{kind}" for session in ("", "ses-*/") for kind in ("", "/*.json")
    ]
    total = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
        total.update(f"{path.relative_to(root)} {path.stat().st_mtime_ns}\n".encode())
    return total.hexdigest()[:16]


def download_hash(images: str | Path, index: str | Path | None = None) -> str:
    """Hash a download: changes when files are added or removed, or a corrupt one is replaced.

    The hash covers the names and modification times of the subjects' folders and three levels below
    them (series, dates, images). The time of the image folder does not show changes below it.

    A file that is overwritten changes no folder. Only files of images that were found corrupt are
    checked for this; for others use ``--forcerun check_download``. A replacement changes the hash
    twice: at once, and when the next check finds the image good.

    2,000 subjects with 32,000 images take 1.6 s. ``absent`` if there is no image folder.

    Args:
        images: The image folder.
        index: Image index of an earlier check (image_id, path, status, content), if any.
    """
    if not Path(images).is_dir():
        return "absent"
    total = hashlib.sha256()
    found = find_folders(images)
    for path in found.elsewhere:
        total.update(os.fsencode(f"{path.relative_to(images)}\n"))
    for folders in found.subjects.values():
        for folder in folders:
            total.update(os.fsencode(f"{folder.relative_to(images)} {folder.stat().st_mtime_ns}\n"))
            for entry, depth in _below(folder, 3):
                total.update(os.fsencode(f"{depth}{entry.name} {entry.stat().st_mtime_ns}\n"))
    for image in _replaced(Path(images), index):
        total.update(os.fsencode(f"{image}\n"))
    return total.hexdigest()[:16]


def study_hash(images: str | Path, tables: str | Path, left_out: str | Path | None = None) -> str:
    """Hash a study's download: changes when files are added, removed or renamed, or a table edited.

    It covers names and modification times of all folders of images, and names, sizes and times of
    tables in the folder of tables. A file of images that is overwritten changes no folder; those
    that were left out as bad are checked for this. ``absent`` without a folder.

    Args:
        images: Folder of its images.
        tables: Folder of its tables; may be the same.
        left_out: Table of images that an earlier conversion left out (path, state), if any.
    """
    total = hashlib.sha256()
    for folder in (Path(images), Path(tables)):
        if not folder.is_dir():
            return "absent"
    for place, folders, _ in os.walk(images, followlinks=True):
        folders.sort()
        total.update(os.fsencode(f"{place} {Path(place).stat().st_mtime_ns}\n"))
    for place, folders, files in os.walk(tables, followlinks=True):
        folders.sort()
        for path in (Path(place, name) for name in sorted(files)):
            if path.suffix.lower() in (".csv", ".xls", ".xlsx") and not path.name.startswith("."):
                about = path.stat() if path.exists() else path.lstat()  # a link to nothing
                total.update(os.fsencode(f"{path} {about.st_size} {about.st_mtime_ns}\n"))
    if left_out is not None and Path(left_out).is_file():
        for row in read_table(left_out, ["path", "state"]).itertuples():
            if (now := file_state(images, row.path)) != row.state:
                total.update(os.fsencode(f"{row.path} {now}\n"))
    return total.hexdigest()[:16]


def file_state(folder: str | Path, place: str) -> str:
    """Sizes and times of the files of an image, hashed; of the archive that holds it; ``absent``.

    Args:
        folder: Folder of images.
        place: Path of a file, a folder of files or a member of an archive, from there.
    """
    path = Path(folder, place)
    for each in (path, *path.parents):
        if each == Path(folder):
            break
        if each.exists() and (each == path or each.is_file()):
            files = sorted(each.iterdir()) if each.is_dir() else [each]
            stats = [file.stat() if file.exists() else file.lstat() for file in files]
            return digest([(about.st_size, about.st_mtime_ns) for about in stats])
    return "absent"


def _replaced(images: Path, index: str | Path | None) -> list[str]:
    """Images that were corrupt and whose files have changed since, each with its new hash."""
    if index is None or not Path(index).is_file():
        return []
    table = read_table(index, ["image_id", "path", "status", "content"])
    replaced = []
    for row in table[(table["status"] == "corrupt") & table["image_id"].notna()].itertuples():
        if os.path.lexists(images / row.path):
            now = files_hash(image_files(images, row.path, row.image_id))
        else:
            now = "absent"
        if now != row.content:
            replaced.append(f"{row.image_id} {now}")
    return replaced


def _below(folder: str | Path, levels: int) -> Iterator[tuple[os.DirEntry, int]]:
    """Folders below ``folder``, each with the number of levels that remain below it."""
    for entry in _entries(folder) or ():
        if is_folder(entry):
            yield entry, levels - 1
            if levels > 1:
                yield from _below(entry.path, levels - 1)


def tables_hash(folder: str | Path) -> str:
    """Hash the CSV files of a folder: changes when one is added, removed, replaced or edited.

    The hash covers names, sizes and modification times; the time of the folder does not show
    edits. ``absent`` if there is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return "absent"
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() == ".csv")
    return digest(
        [
            (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
            for path in files
        ]
    )
