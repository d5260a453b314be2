"""Images of a study's download, read before Clinica sees them, and those that it did not convert.

Clinica's converters stop at the first image that they cannot read, and leave others out without a
word. Images are therefore checked in the folder of links, bad ones are taken out of it, and every
image that does not become one of the data set gets a row with its reason.
"""

import logging
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from ldae.conversion.bids import image_fault, inspect_image
from ldae.conversion.image_checks import dicom_fault
from ldae.conversion.studies import Study
from ldae.conversion.study_download import Head, image_files, unreadable_archives
from ldae.labels import count

log = logging.getLogger(__name__)
COLUMNS = ["subject", "path", "status", "reason"]


def remove_bad_archives(study: Study, shown: Path, reasons: dict[str, str]) -> list[Head]:
    """Take archives that cannot be opened out of the folder of links; each gets a reason.

    Returns:
        The archives taken out, each as one image.
    """
    bad = unreadable_archives(study, shown)
    for archive, why in bad:
        (shown / archive.place).unlink()
        reasons[archive.place] = why.replace(str(shown / archive.place), archive.place)
    return [archive for archive, _ in bad]


def remove_bad_images(
    study: Study, shown: Path, images: Iterable[Head], reasons: dict[str, str], jobs: int
) -> None:
    """Read every image and take those with a fault out of the folder of links.

    Args:
        study: The study.
        shown: Folder of links; changed.
        images: Its images.
        reasons: Place of an image -> why it is left out; added to.
        jobs: Parallel processes that read.
    """
    images = [each for each in images if each.place not in reasons]
    archives = {place for place, _, _ in image_files(study, shown)} if study.member else set()
    parts = [_within(each.place, archives) for each in images]
    with ProcessPoolExecutor(jobs) as pool:
        folders = [shown] * len(images)
        found = list(pool.map(_fault, folders, parts, chunksize=4))
    bad = {each.place: fault for each, fault in zip(images, found, strict=True) if fault}
    reasons |= bad
    for archive in archives:
        members = [name for place, name in parts if place == archive]
        kept = [name for name in members if f"{archive}/{name}" not in bad]
        if len(kept) < len(members):
            keep_members(shown / archive, kept)
    for each, (place, name) in zip(images, parts, strict=True):
        if each.place in bad and name is None:
            for path in _files_of(shown / place):
                path.unlink()
            _remove_empty(shown / place, shown)


def keep_members(link: Path, kept: list[str]) -> None:
    """Replace a link to an archive by an archive of these members; without any, remove it."""
    original = link.resolve()
    link.unlink()
    if not kept:
        return
    with ZipFile(original) as source, ZipFile(link, "w") as target:
        for name in kept:
            target.writestr(name, source.read(name))


def _within(place: str, archives: set[str]) -> tuple[str, str | None]:
    """Archive and member of an image; its place and None if it lies in no archive."""
    archive = next((each for each in archives if place.startswith(f"{each}/")), None)
    return (archive, place[len(archive) + 1 :]) if archive else (place, None)


def _fault(shown: Path, part: tuple[str, str | None]) -> str | None:
    """Fault of one image, a sentence, or None."""
    place, member = part
    path = shown / place
    if member is not None:
        return _member_fault(path, member)
    if path.is_dir():
        pairs = [each for each in sorted(path.iterdir()) if each.suffix.lower() == ".img"]
        return _pair_fault(pairs[0]) if pairs else dicom_fault(sorted(path.iterdir()), None)
    broken = next((each for each in _files_of(path) if not each.exists()), None)
    if broken is not None:
        return "The file is a link to nothing."
    return inspect_image(path)[0]


def _pair_fault(path: Path) -> str | None:
    """Fault of an image in Analyze's format: .img, with a .hdr beside it."""
    try:
        data = np.squeeze(np.asanyarray(nib.load(path).dataobj))
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError) as error:
        log.info("%s: %s", path.name, error)
        return "It is no readable pair of .img and .hdr."
    return image_fault(data)


def _member_fault(archive: Path, member: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder, ZipFile(archive) as opened:
        path = Path(folder, "image.nii.gz" if member.endswith(".gz") else "image.nii")
        try:
            path.write_bytes(opened.read(member))
        except (BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:
            return f"The image cannot be taken out of its archive ({type(error).__name__})."
        return inspect_image(path)[0]


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder below ``root``, and those above it, as far as they are empty."""
    for each in (folder, *folder.parents):
        if each == root or (each.exists() and any(each.iterdir())):
            return
        if each.exists():
            each.rmdir()


def _files_of(path: Path) -> list[Path]:
    """Files of an image: a series' folder, a pair of .img and .hdr, or a file and its sidecar."""
    if path.is_dir():
        return sorted(path.iterdir())
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    beside = sorted(path.parent.iterdir())
    return [each for each in beside if each.name.removesuffix(".gz").rpartition(".")[0] == stem]


def not_converted(
    study: Study,
    before: list[Head],
    reasons: Mapping[str, str],
    bad: Collection[str],
    bids: Path,
) -> pd.DataFrame:
    """Table of the images that did not become one of the data set.

    Args:
        study: The study.
        before: All images of the download.
        reasons: Place -> reason, of those that were not given to Clinica.
        bad: Places of those among them that cannot be read.
        bids: The data set that Clinica made.

    Returns:
        Columns subject (label without ``sub-``), path (of the image among the links), status
        (``corrupt``: it cannot be read; ``failed``: Clinica made no image of its subject;
        ``not_chosen``: passed over by a rule) and reason; one row an image. Where Clinica made
        fewer images of a subject than it was given, nobody can say which: as many rows as are
        missing, each with the number.
    """
    rows = [
        (
            study.label_of(each.subject),
            each.place,
            "corrupt" if each.place in bad else "not_chosen",
            reasons[each.place],
        )
        for each in before
        if each.place in reasons
    ]
    given: dict[str, list[str]] = {}
    for each in before:
        if each.place not in reasons:
            given.setdefault(study.label_of(each.subject), []).append(each.place)
    for label, places in given.items():
        made = len(list(bids.glob(f"sub-{label}/ses-*/anat/*_T1w.nii.gz")))
        missing = len(places) - made
        if made == 0:
            reason = "Clinica made no image of this subject."
            rows += [(label, place, "failed", reason) for place in places]
        elif missing > 0:
            reason = f"Clinica made {made} of this subject's {count(len(places), 'image')}."
            rows += [
                (label, f"{label}/unknown-{number + 1}", "not_chosen", reason)
                for number in range(missing)
            ]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS, ignore_index=True)


def original_paths(study: Study, images: str | Path) -> Callable[[str], str]:
    """Function that gives the path in the download, from ``images``, of an image's place."""
    files = {
        place: path.relative_to(images).as_posix() for place, _, path in image_files(study, images)
    }
    folders = {Path(place).parent.as_posix(): Path(path) for place, path in files.items()}

    def original(place: str) -> str:
        if place in files:
            return files[place]
        if place in folders:  # a series, or a pair of files
            return folders[place].parent.as_posix()
        archive = next((each for each in files if place.startswith(f"{each}/")), None)
        return f"{files[archive]}{place[len(archive) :]}" if archive else place

    return original


def sentences(reasons: Iterable[str]) -> list[str]:
    """Reasons with their counts, the most frequent first."""
    counted = Counter(reasons).most_common()
    return [f"{count(number, 'image')} left out: {reason}" for reason, number in counted]
