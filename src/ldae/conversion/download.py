"""Layout of an ADNI download: image identifiers and formats by file name, folders by subject.

ADNI delivers ``<PTID>/<series>/<date>/I<ImageUID>/ADNI_<PTID>_..._S<SeriesID>_I<ImageUID>.dcm``
(or one ``.nii`` for a scan that ADNI has processed), in several archives. Unpacked side by side,
the folders of one subject may lie in several places, up to three levels below the image folder.

Every start of the workflow imports this module: it imports nothing heavy.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ldae.errors import require

# Extension (lower case) -> format. ``other``: image formats that ADNI delivers and Clinica does not
# convert, and archives that were not unpacked.
FORMATS = (
    dict.fromkeys(("dcm", "dicom", "ima"), "dicom")
    | dict.fromkeys(("nii", "nii.gz"), "nifti")
    | dict.fromkeys(("img", "hdr", "mnc", "mgz", "mgh", "nrrd", "v", "i", "hrrt"), "other")
    | dict.fromkeys(("zip", "tar", "tar.gz", "tgz", "7z", "rar"), "other")
    | dict.fromkeys(("dcm.gz", "dicom.gz", "ima.gz", "dcm.bz2", "img.gz"), "other")
)
_NAME = re.compile(
    r"(?:_I(?P<number>\d+))?"
    r"\.(?P<extension>(?:nii|tar|dcm|dicom|ima|img)\.gz|dcm\.bz2|[^.]+)$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?:^|_)I(\d+)(?![^._])", re.IGNORECASE)
# Files that stand beside images and are none; they are not opened.
_TEXTS = {".xml", ".csv", ".tsv", ".txt", ".json", ".pdf", ".html", ".md", ".log", ".doc", ".docx"}
DICOM_MARK = b"DICM"  # after 128 bytes
PTID = re.compile(r"\d{3}_S_\d{4,5}", re.IGNORECASE)
DEPTH = 3  # levels of subjects' folders: <PTID>, ADNI/<PTID>, part1/ADNI/<PTID>


def read_name(name: str) -> tuple[str | None, str] | None:
    """Parse the name of an image file.

    Returns:
        ImageUID (digits; None if the name has none) and format (dicom, nifti, other). None if the
        name is not that of an image. Hidden files are none: macOS leaves ``._`` copies of names
        in archives.
    """
    match = None if name.startswith(".") else _NAME.search(name)
    kind = FORMATS.get(match["extension"].lower()) if match else None
    return (match["number"], kind) if kind else None


def read_content(path: Path) -> tuple[str | None, str] | None:
    """As :func:`read_name`, for DICOM files that only their content shows.

    The format is ``other``: Clinica looks for ``.dcm``. Files that cannot be opened are none.
    """
    if path.name.startswith(".") or path.suffix.lower() in _TEXTS:
        return None
    try:
        with path.open("rb") as stream:
            marked = stream.read(132)[128:] == DICOM_MARK
    except OSError:
        return None
    if not marked:
        return None
    number = _NUMBER.search(path.name)
    return number[1] if number else None, "other"


def image_files(images: str | Path, path: str, image_id: str) -> list[Path]:
    """List the files of an image, sorted, by its ``path`` in the image index."""
    path = Path(images) / path
    if not path.is_dir():
        return [path]
    number = image_id.removeprefix("I")
    names = ((entry.name, read_name(entry.name)) for entry in os.scandir(path))
    return sorted(path / name for name, found in names if found and found[0] == number)


def files_hash(files: Iterable[Path]) -> str:
    """Hash the files' names, sizes (bytes) and modification times."""
    total = hashlib.sha256()
    for path in sorted(files):
        try:
            facts = path.stat()
            total.update(os.fsencode(f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n"))
        except OSError:
            total.update(os.fsencode(f"{path.name} unreadable\n"))
    return f"sha256:{total.hexdigest()[:16]}"


@dataclass
class DownloadFolders:
    """Folders and files of a download.

    Attributes:
        subjects: The folders of each subject (PTID), sorted.
        elsewhere: Folders and files outside of any subject's folder, sorted.
    """

    subjects: dict[str, list[Path]] = field(default_factory=dict)
    elsewhere: list[Path] = field(default_factory=list)


def find_folders(images: str | Path) -> DownloadFolders:
    """Find the subjects' folders, named by their PTID, down to ``DEPTH`` levels.

    A folder above the subjects' that cannot be opened is listed in ``elsewhere``; the image index
    gives the reason.

    Raises:
        UserError: the image folder does not exist or cannot be opened.
    """
    images = Path(images)
    require(
        images.is_dir(),
        f"The image folder {images} does not exist. Put ADNI's download there, or set paths.images "
        "to the folder that has one folder a subject (such as 002_S_0413).",
    )
    found = DownloadFolders()
    _collect(images, 1, found)
    require(
        images not in found.elsewhere,
        f"The image folder {images} cannot be opened. Ask for the right to read it.",
    )
    found.subjects = {name: sorted(paths) for name, paths in sorted(found.subjects.items())}
    found.elsewhere.sort()
    return found


def _collect(folder: Path, level: int, found: DownloadFolders) -> None:
    entries = _entries(folder)
    if entries is None:
        found.elsewhere.append(folder)
    for entry in entries or ():
        if is_folder(entry) and PTID.fullmatch(entry.name):
            found.subjects.setdefault(entry.name.upper(), []).append(Path(entry.path))
        elif is_folder(entry) and level < DEPTH:
            _collect(Path(entry.path), level + 1, found)
        else:
            found.elsewhere.append(Path(entry.path))


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder. False for a link that cannot be followed."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _entries(folder: str | Path) -> list[os.DirEntry] | None:
    """Entries of a folder, sorted by name; None if it cannot be opened."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return None
