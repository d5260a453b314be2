"""The folders of an ADNI download: which subject's files lie where. Light: read at every start.

ADNI delivers ``<PTID>/<series>/<date>/I<ImageUID>/ADNI_<PTID>_..._S<SeriesID>_I<ImageUID>.dcm``
(or one ``.nii`` for a scan that ADNI has processed), in several archives. Unpacked side by side,
the folders of one subject may lie in several places, one or two levels below the image folder.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ldae.errors import require

PTID = re.compile(r"\d{3}_S_\d{4,5}", re.IGNORECASE)
DEPTH = 3  # levels of subjects' folders: <PTID>, ADNI/<PTID>, part1/ADNI/<PTID>


@dataclass
class Folders:
    """Where the files of a download lie.

    Attributes:
        subjects: The folders of each subject (PTID), sorted.
        elsewhere: Folders and files outside of any subject's folder, sorted.
    """

    subjects: dict[str, list[Path]] = field(default_factory=dict)
    elsewhere: list[Path] = field(default_factory=list)


def find_folders(images: str | Path) -> Folders:
    """Find the subjects' folders, named by their PTID, down to ``DEPTH`` levels.

    Raises:
        UserError: the image folder does not exist.
    """
    images = Path(images)
    require(
        images.is_dir(),
        f"The image folder {images} does not exist. Put ADNI's download there, or set paths.images "
        "to the folder that has one folder a subject (such as 002_S_0413).",
    )
    found = Folders()
    _collect(images, 1, found)
    found.subjects = {name: sorted(paths) for name, paths in sorted(found.subjects.items())}
    found.elsewhere.sort()
    return found


def _collect(folder: Path, level: int, found: Folders) -> None:
    for entry in _entries(folder):
        if entry.is_dir() and PTID.fullmatch(entry.name):
            found.subjects.setdefault(entry.name.upper(), []).append(Path(entry.path))
        elif entry.is_dir() and level < DEPTH:
            _collect(Path(entry.path), level + 1, found)
        else:
            found.elsewhere.append(Path(entry.path))


def _entries(folder: str | Path) -> list[os.DirEntry]:
    """What a folder holds, sorted by name; nothing if it may not be opened (the index says so)."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except PermissionError:
        return []


def listing(images: str | Path) -> str:
    """A hash that changes when a visit is added to a download, or taken away.

    Names and times of change of the subjects' folders and two levels below them (series, dates);
    the image folder's own time says nothing of what changes below it. A download of 2,000 subjects
    takes some tenths of a second. ``absent`` if there is no image folder.
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
            for entry, depth in _below(folder, 2):
                total.update(os.fsencode(f"{depth}{entry.name} {entry.stat().st_mtime_ns}\n"))
    return total.hexdigest()[:16]


def _below(folder: str | Path, levels: int) -> Iterator[tuple[os.DirEntry, int]]:
    """Folders below ``folder``, and how many levels are left below each."""
    for entry in _entries(folder):
        if entry.is_dir():
            yield entry, levels - 1
            if levels > 1:
                yield from _below(entry.path, levels - 1)
