"""What the name of a file of a download says: is it an image, which one, of what format."""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

# Extension (lower case) -> format. ``other``: image formats that ADNI delivers and Clinica does not
# convert, and archives that were not unpacked.
FORMATS = (
    dict.fromkeys(("dcm", "dicom", "ima"), "dicom")
    | dict.fromkeys(("nii", "nii.gz"), "nifti")
    | dict.fromkeys(("img", "hdr", "mnc", "mgz", "mgh", "nrrd", "v", "i", "hrrt"), "other")
    | dict.fromkeys(("zip", "tar", "tar.gz", "tgz", "7z", "rar"), "other")
)
_NAME = re.compile(r"(?:_I(?P<number>\d+))?\.(?P<extension>(?:nii|tar)\.gz|[^.]+)$", re.IGNORECASE)


def read_name(name: str) -> tuple[str | None, str] | None:
    """ImageUID (if the name has one) and format of an image file by its name, else None.

    Hidden files are none: macOS leaves ``._`` copies of names in archives.
    """
    match = None if name.startswith(".") else _NAME.search(name)
    kind = FORMATS.get(match["extension"].lower()) if match else None
    return (match["number"], kind) if kind else None


def image_files(images: str | Path, path: str, image_id: str) -> list[Path]:
    """The files of an image, sorted, by its ``path`` in the index."""
    path = Path(images) / path
    if not path.is_dir():
        return [path]
    number = image_id.removeprefix("I")
    names = ((entry.name, read_name(entry.name)) for entry in os.scandir(path))
    return sorted(path / name for name, found in names if found and found[0] == number)


def content_of(files: Iterable[Path]) -> str:
    """A hash of the files' names, sizes (bytes) and times of change."""
    total = hashlib.sha256()
    for path in sorted(files):
        try:
            facts = path.stat()
            total.update(os.fsencode(f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n"))
        except OSError:
            total.update(os.fsencode(f"{path.name} unreadable\n"))
    return f"sha256:{total.hexdigest()[:16]}"
