"""Images of a study's download, read before Clinica sees them, and those that it did not convert.

Clinica's converters stop at the first image that they cannot read, and leave others out without a
word. Images are therefore checked in the folder of links, bad ones are taken out of it, and every
image that does not become one of the data set gets a row with its reason.
"""

import logging
import tempfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
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
from ldae.conversion.study_download import Head, LinkedDownload
from ldae.labels import count

log = logging.getLogger(__name__)
COLUMNS = ["subject", "path", "status", "reason"]


def remove_bad_archives(download: LinkedDownload, unreadable: Mapping[Head, str]) -> None:
    """Take archives that cannot be opened out of the folder of links; each gets its reason."""
    for archive, why in unreadable.items():
        link = download.images / archive.place
        link.unlink()
        download.reasons[archive.place] = why.replace(str(link), archive.place)


def remove_bad_images(download: LinkedDownload, images: Sequence[Head], jobs: int) -> None:
    """Read every image and take those with a fault out of the folder of links.

    Args:
        download: The links; changed.
        images: Images among them.
        jobs: Parallel processes that read.
    """
    with ProcessPoolExecutor(jobs) as pool:
        found = list(pool.map(partial(_fault, download.images), images, chunksize=4))
    bad = {each.place: fault for each, fault in zip(images, found, strict=True) if fault}
    download.reasons |= bad
    members: dict[str, list[Head]] = {}
    for each in images:
        if each.archive is not None:
            members.setdefault(each.archive, []).append(each)
        elif each.place in bad:
            for path in _files_of(download.images / each.place):
                path.unlink()
            _remove_empty(download.images / each.place, download.images)
    for archive, inside in members.items():
        kept = [each.member for each in inside if each.place not in bad]
        if len(kept) < len(inside):
            keep_members(download.images / archive, kept)


def keep_members(link: Path, kept: list[str]) -> None:
    """Replace a link to an archive by an archive of these members; without any, remove it."""
    original = link.resolve()
    link.unlink()
    if not kept:
        return
    with ZipFile(original) as source, ZipFile(link, "w") as target:
        for name in kept:
            target.writestr(name, source.read(name))


def _fault(shown: Path, head: Head) -> str | None:
    """Fault of one image, a sentence, or None."""
    if head.archive is not None:
        return _member_fault(shown / head.archive, head.member)
    path = shown / head.place
    if path.is_dir():
        pairs = [each for each in sorted(path.iterdir()) if each.suffix.lower() == ".img"]
        return _pair_fault(pairs[0]) if pairs else dicom_fault(sorted(path.iterdir()), None)
    if not all(each.exists() for each in _files_of(path)):
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
    download: LinkedDownload,
    before: Sequence[Head],
    bad: Collection[str],
    bids: Path,
) -> pd.DataFrame:
    """Table of the images that did not become one of the data set.

    Args:
        study: The study.
        download: Its links, with the reasons of images that were not given to Clinica.
        before: All images of the download.
        bad: Places of those that cannot be read.
        bids: The data set that Clinica made.

    Returns:
        Columns subject (label without ``sub-``), path (in the download), status (``corrupt``: it
        cannot be read; ``failed``: Clinica made no image of its subject; ``not_chosen``: passed
        over by a rule) and reason; one row an image. Where Clinica made fewer images of a subject
        than it was given, nobody can say which: as many rows as are missing, each with the number.
    """
    rows = []
    given: dict[str, list[Head]] = {}
    for each in before:
        label, reason = study.label_of(each.subject), download.reason_of(each)
        if reason is None:
            given.setdefault(label, []).append(each)
        else:
            status = "corrupt" if each.place in bad else "not_chosen"
            rows.append((label, download.original_path(each), status, reason))
    for label, images in given.items():
        made = len(list(bids.glob(f"sub-{label}/ses-*/anat/*_T1w.nii.gz")))
        if made == 0:
            reason = "Clinica made no image of this subject."
            rows += [(label, download.original_path(one), "failed", reason) for one in images]
            continue
        reason = f"Clinica made {made} of this subject's {count(len(images), 'image')}."
        places = [f"{label}/unknown-{number}" for number in range(1, len(images) - made + 1)]
        rows += [(label, place, "not_chosen", reason) for place in places]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(COLUMNS, ignore_index=True)


def sentences(reasons: Iterable[str]) -> list[str]:
    """Reasons with their counts, the most frequent first."""
    counted = Counter(reasons).most_common()
    return [f"{count(number, 'image')} left out: {reason}" for reason, number in counted]
