"""The image folder of an ADNI download: what is in it, and what would make Clinica fail.

ADNI delivers ``<PTID>/<series>/<date>/I<ImageUID>/ADNI_<PTID>_..._S<SeriesID>_I<ImageUID>.dcm``
(or one ``.nii`` for a scan that ADNI has processed). Clinica relies on two things alone: folders
named by PTID directly below the image folder, and file names that end in ``_I<ImageUID>.<ext>``.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom

from ldae.errors import UserError, require

SUBJECT = re.compile(r"\d{3}_S_\d{4}")
_SUBJECT_ANYWHERE = re.compile(r"\d{3}_S_\d{4,5}")
_IMAGE = re.compile(r"_I(\d+)\.(.+)$")
_SLICE = re.compile(r"_(\d+)_S\d+_I\d+\.dcm$")
_SHOWN = 20  # faults that a message lists
_FORMATS = {"dcm": "dicom", "nii": "nifti", "nii.gz": "nifti"}


def find_subjects(images: str | Path) -> list[str]:
    """Sorted PTIDs of the folders directly below ``images``.

    Raises:
        UserError: the folder is missing, empty, or its PTID folders are not directly below it; the
            message says what was found instead.
    """
    images = Path(images)
    require(
        images.is_dir(),
        f"The image folder {images} does not exist. Put ADNI's download there, or set paths.images "
        "to the folder that has one folder a subject (such as 002_S_0413).",
    )
    children = sorted(entry.name for entry in os.scandir(images) if entry.is_dir())
    subjects = [name for name in children if SUBJECT.fullmatch(name)]
    if subjects:
        return subjects
    nested = [
        name
        for name in children
        if any(SUBJECT.fullmatch(entry.name) for entry in os.scandir(images / name))
    ]
    if nested:
        raise UserError(
            f"The image folder {images} has its subject folders one level too deep, in "
            f"{', '.join(nested)}/. Set paths.images to {images / nested[0]}."
        )
    found = ", ".join(children[:5]) or "no folder at all"
    raise UserError(
        f"The image folder {images} has no subject folder (named like 002_S_0413) directly below "
        f"it; found: {found}. Unpack all of ADNI's image archives there, or set paths.images."
    )


def index_files(images: str | Path) -> pd.DataFrame:
    """List every image of the download, one row an image identifier, and metadata beside it.

    Returns:
        Columns image_id (``I40001``), subject_id (the PTID in the path, else n/a), path (relative
        to ``images``: the folder of a DICOM series, the file of anything else), format (dicom,
        nifti, other; metadata: an XML file that bears an image's identifier, no image itself),
        files (number), gap (slice numbers in the DICOM names are not contiguous). Sorted by
        subject, image and path.
    """
    images = Path(images)
    found: dict[tuple[str, bool], list[tuple[str, str, str]]] = {}
    for folder, name in _walk(images):
        if match := _IMAGE.search(name):
            key = match[1], match[2].lower() == "xml"
            found.setdefault(key, []).append((folder, name, match[2]))
    rows = []
    for (number, metadata), files in found.items():
        # A copy in a subject's folder comes first: Clinica looks there alone.
        folder, name, extension = min(files, key=lambda file: (not SUBJECT.search(file[0]), file))
        kind = "metadata" if metadata else _FORMATS.get(extension, "other")
        path = Path(folder) if kind == "dicom" else Path(folder, name)
        relative = path.relative_to(images)
        subject = _SUBJECT_ANYWHERE.search(str(relative))
        slices = [_SLICE.search(file) for where, file, _ in files if where == folder]
        rows.append(
            {
                "image_id": f"I{number}",
                "subject_id": subject[0] if subject else None,
                "path": relative.as_posix(),
                "format": kind,
                "files": len(files),
                "gap": kind == "dicom" and _has_gap(slices),
            }
        )
    columns = ["image_id", "subject_id", "path", "format", "files", "gap"]
    table = pd.DataFrame(rows, columns=columns)
    order = table.assign(number=table["image_id"].str[1:].astype(int))
    return order.sort_values(["subject_id", "number", "path"])[columns].reset_index(drop=True)


def _walk(images: Path) -> Iterator[tuple[str, str]]:
    """Folder and name of every file. Like Clinica, follow links at the top level and none below."""
    for entry in sorted(os.scandir(images), key=lambda entry: entry.name):
        if entry.is_dir():
            for folder, _, names in os.walk(entry.path):
                yield from ((folder, name) for name in names)
        else:
            yield str(images), entry.name


def _has_gap(slices: list[re.Match | None]) -> bool:
    """Whether the slice numbers in the file names of one series leave one out."""
    if not all(slices):
        return False
    numbers = {int(match[1]) for match in slices}
    return len(numbers) > 1 and max(numbers) - min(numbers) + 1 != len(numbers)


def check_images(images: str | Path, files: pd.DataFrame) -> None:
    """Refuse files on which Clinica 0.12 aborts the whole conversion.

    Those are: a file other than ``.dcm``/``.nii`` that bears the name of an image (XML, ``.DCM``),
    a processed NIfTI that cannot be read, and a DICOM series with a slice missing inside.

    Args:
        images: The image folder.
        files: Rows of :func:`index_files`: those of images that Clinica may choose.

    Raises:
        UserError: lists such files and what to do.
    """
    images = Path(images)
    faults = []
    for row in files.itertuples():
        fault = None
        if row.format == "metadata" and SUBJECT.fullmatch(Path(row.path).parts[0]):
            fault = "metadata, which Clinica would take for the image"
        elif row.format == "other":
            fault = "not named .dcm or .nii (lower case)"
        elif row.format == "nifti":
            fault = _nifti_fault(images / row.path)
        elif row.gap:
            fault = _series_fault(images / row.path, row.image_id)
        if fault:
            faults.append(f"{row.path}: {fault}")
    if faults:
        rest = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise UserError(
            f"Clinica would abort on {len(faults)} file(s) or series of {images}:\n  "
            + "\n  ".join(faults[:_SHOWN] + rest)
            + "\nDownload them again, or move them out of the image folder."
        )


def _nifti_fault(path: Path) -> str | None:
    """Why a NIfTI image cannot be read to its last voxel, or None."""
    try:
        image = nib.load(path)
        np.asanyarray(image.dataobj[..., -1])
    except (OSError, ValueError, EOFError, nib.filebasedimages.ImageFileError) as error:
        return f"cannot be read ({error})"
    return None


def _series_fault(folder: Path, image_id: str) -> str | None:
    """Why a DICOM series does not make a regular volume, or None (positions in mm along z)."""
    tags = ["ImagePositionPatient", "ImageOrientationPatient"]
    positions = []
    for path in sorted(folder.glob(f"*_{image_id}.dcm")):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
            axes = np.asarray(header.ImageOrientationPatient, float).reshape(2, 3)
            positions.append(np.cross(*axes) @ np.asarray(header.ImagePositionPatient, float))
        except (pydicom.errors.InvalidDicomError, AttributeError, ValueError, EOFError):
            return None  # unreadable DICOM does not abort Clinica: it is reported as failed later
    steps = np.diff(np.sort(positions))
    if steps.size and steps.max() > 1.5 * np.median(steps):
        return f"a slice is missing ({len(positions)} files, gap of {steps.max():.2f} mm)"
    return None
