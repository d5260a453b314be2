"""BIDS folder of T1-weighted scans: image checks, JSON sidecars, compression, finished tables.

The sidecars hold the acquisition from the DICOM header, in BIDS's names and units. No header value
that may identify the person is copied.
"""

import gzip
import hashlib
import re
import shutil
import struct
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom

from ldae.files import MISSING, atomic, write_json
from ldae.nifti import NOT_REAL, ImageUnreadable, geometry_fault, is_finite, is_real, read_image

# BIDS's name -> DICOM keyword, factor to BIDS's unit (DICOM has milliseconds, BIDS seconds).
_NUMBERS = {
    "MagneticFieldStrength": ("MagneticFieldStrength", 1.0),
    "RepetitionTime": ("RepetitionTime", 1e-3),
    "EchoTime": ("EchoTime", 1e-3),
    "InversionTime": ("InversionTime", 1e-3),
    "FlipAngle": ("FlipAngle", 1.0),
    "SliceThickness": ("SliceThickness", 1.0),
    "PixelBandwidth": ("PixelBandwidth", 1.0),
}
_CODES = {
    "Manufacturer": "Manufacturer",
    "ManufacturersModelName": "ManufacturerModelName",
    "MRAcquisitionType": "MRAcquisitionType",
    "ScanningSequence": "ScanningSequence",
    "SequenceVariant": "SequenceVariant",
}
_CODE = re.compile(r"[A-Za-z0-9 ._/+()-]{1,40}")
_LARGEST = 1e5  # of any of these numbers; a larger one is an error of the header
# Free-text fields of a NIfTI-1 header (offset, bytes): data_type, db_name, descrip, aux_file,
# intent_name. dcm2niix fills them with the time of day and ImageComments.
_TEXT_FIELDS = ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16))
# Clinica 0.12 joins APOERES by row number: these two are other subjects' values; apoe4 is right
# (findings/clinica-adni-genotypes.sh).
_WRONG = ("apoe_gen1", "apoe_gen2")
# Columns of every sessions.tsv, also of imports (:mod:`ldae.conversion.import_bids`).
_VISIT = ("session_id", "age", "diagnosis", "MMSE", "cdr_global")
_WHOLE = r"^(-?\d+)\.0+$"


def acquisition(path: str | Path) -> dict[str, Any]:
    """Read the acquisition parameters of one readable DICOM file.

    Returns:
        BIDS's name to value: times in seconds, angles in degrees, field strength in tesla,
        thickness in mm, bandwidth in Hz, names and codes of the scanner and the sequence. Absent
        and implausible values are left out.
    """
    keywords = [keyword for keyword, _ in _NUMBERS.values()] + list(_CODES.values())
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=keywords)
    found: dict[str, Any] = {}
    for name, keyword in _CODES.items():
        value = header.get(keyword) or ""
        text = value if isinstance(value, str) else "_".join(value)
        if _CODE.fullmatch(text):
            found[name] = text.strip()
    for name, (keyword, factor) in _NUMBERS.items():
        try:
            number = float(header.get(keyword))
        except (TypeError, ValueError):  # absent, empty, or several values
            continue
        if 0 < number < _LARGEST:
            found[name] = round(number * factor, 9)
    return found


def scan_path(bids: str | Path, scan_id: str) -> Path:
    """Path of the T1-weighted image of ``scan_id`` (``sub-..._ses-...``) in a BIDS folder."""
    subject, session = scan_id.split("_")
    return Path(bids) / subject / session / "anat" / f"{scan_id}_T1w.nii.gz"


def inspect_image(path: str | Path) -> tuple[str | None, str | None]:
    """Read a NIfTI-1 image whole and check it.

    Returns:
        The fault, a sentence (None: good), and the hash of the voxels (None: bad).
    """
    try:
        image, data = read_image(path)
    except ImageUnreadable as error:
        return str(error), None
    fault = image_fault(data) or geometry_fault(image)
    return (fault, None) if fault else (None, image_hash(data, image.affine))


def image_fault(data: np.ndarray) -> str | None:
    """Fault of an array as the voxels of a 3-D image, in a sentence, or None."""
    if data.ndim != 3 or min(data.shape) < 2:
        return f"The image is not 3-D: its shape is {data.shape}."
    if not is_real(data.dtype):
        return NOT_REAL
    if not is_finite(data):
        return "The image has values that are not finite."
    if data.min() == data.max():
        return f"The image is constant: all voxels are {float(data.min()):g}."
    return None


def image_hash(data: np.ndarray, affine: np.ndarray) -> str:
    """SHA-256 of the voxels (X, Y, Z) and their shape, independent of data type and axis order.

    The voxels are first reoriented to right, anterior, superior and converted to float32. The same
    image in another data set therefore has the same hash.
    """
    turned = nib.apply_orientation(data, nib.io_orientation(affine))
    turned = np.ascontiguousarray(turned, dtype="<f4")
    total = hashlib.sha256(repr(turned.shape).encode())
    total.update(turned)
    return total.hexdigest()


def compress_image(source: str | Path, target: str | Path) -> None:
    """Compress a NIfTI file reproducibly, with a normalised NIfTI-1 header.

    The header's free-text fields are emptied and trailing axes of length 1 removed. ``source`` may
    be compressed already.
    """
    content = Path(source).read_bytes()
    content = gzip.decompress(content) if Path(source).suffix == ".gz" else content
    _write_compressed(_normalised(content), target)


def _write_compressed(content: bytes, target: str | Path) -> None:
    with atomic(target) as temporary:
        temporary.write_bytes(gzip.compress(content, compresslevel=1, mtime=0))


def _normalised(content: bytes) -> bytes:
    """NIfTI-1 without free text and without trailing axes of length 1; other bytes as they are."""
    if content[344:348] != b"n+1\0":
        return content
    normalised = bytearray(content)
    for at, size in _TEXT_FIELDS:
        normalised[at : at + size] = bytes(size)
    axes = "<8h" if content[:4] == struct.pack("<i", 348) else ">8h"
    number, *lengths = struct.unpack_from(axes, content, 40)
    if number > 3 and set(lengths[3:number]) == {1}:
        struct.pack_into(axes, normalised, 40, 3, *lengths[:3], 1, 1, 1, 1)
    return bytes(normalised)


def check_scans(
    bids: Path, scan_ids: Iterable[str], jobs: int = 1
) -> dict[str, tuple[str | None, str | None]]:
    """Check that each scan has exactly one good image, and normalise the headers of good ones.

    Returns:
        By scan_id: the fault, a sentence (None: good), and the hash of the voxels (None: bad).
    """
    scan_ids = sorted(set(scan_ids))
    check = partial(_check_scan, bids)
    if jobs == 1 or len(scan_ids) < 2:
        found = list(map(check, scan_ids))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            found = list(pool.map(check, scan_ids, chunksize=4))
    return dict(zip(scan_ids, found, strict=True))


def _check_scan(bids: Path, scan_id: str) -> tuple[str | None, str | None]:
    path = scan_path(bids, scan_id)
    stray = sorted(file.name for file in path.parent.glob("*.nii"))
    if stray:
        return f"The conversion was not finished: {', '.join(stray)} was left uncompressed.", None
    images = sorted(file.name for file in path.parent.glob("*.nii.gz"))
    if not images:
        return "dcm2niix made no image: the DICOM series is damaged or incomplete.", None
    if images != [path.name]:
        return f"There should be one image, but there are {', '.join(images)}.", None
    fault, found = inspect_image(path)
    if fault is None:
        content = gzip.decompress(path.read_bytes())
        normalised = _normalised(content)
        if normalised != content:
            _write_compressed(normalised, path)
    return fault, found


def write_sidecars(
    bids: Path, converted: pd.DataFrame, headers: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write a JSON sidecar beside each converted scan: its acquisition in BIDS's names and units.

    Args:
        bids: BIDS folder of the scans.
        converted: Rows of Clinica's list of scans (scan_id, image_id, Field_Strength, Sequence,
            Original).
        headers: By image_id: the acquisition from the DICOM header (:func:`acquisition`). Its
            field strength is replaced by that of ADNI's tables, if they have one, since Clinica
            chooses by it.
    """
    for row in converted.itertuples():
        content = {"Modality": "MR", "SeriesDescription": row.Sequence, "ImageID": row.image_id}
        content |= headers.get(row.image_id, {})
        strength = pd.to_numeric(row.Field_Strength, errors="coerce")
        if np.isfinite(strength):
            content["MagneticFieldStrength"] = float(strength)
        content["ProcessedByADNI"] = row.Original != "True"
        path = scan_path(bids, row.scan_id)
        write_json(content, path.with_name(f"{row.scan_id}_T1w.json"))


def finish_subjects(bids: Path, scan_ids: set[str]) -> None:
    """Remove all scans but ``scan_ids`` from the folder, and put table columns in BIDS's order.

    Sessions without a good scan and subjects without any are removed, also from participants.tsv.
    """
    subjects = {scan.split("_")[0] for scan in scan_ids}
    for subject in sorted(bids.glob("sub-*")):
        if subject.name not in subjects:
            shutil.rmtree(subject)
            continue
        for session in sorted(subject.glob("ses-*")):
            if f"{subject.name}_{session.name}" not in scan_ids:
                shutil.rmtree(session)
        _finish_sessions(subject / f"{subject.name}_sessions.tsv")
        for path in subject.glob("ses-*/*_scans.tsv"):
            _finish_table(path, "filename")
    _finish_table(bids / "participants.tsv", "participant_id", subjects, _WRONG)


def _finish_table(
    path: Path, column: str, keep: set[str] | None = None, drop: Iterable[str] = ()
) -> None:
    """Move ``column`` to a TSV's front, keep the rows where it is in ``keep``, drop columns."""
    table = _read_clinica(path)
    table = table.drop(columns=list(drop), errors="ignore")
    if keep is not None:
        table = table[table[column].isin(keep)]
    table = table[[column, *(name for name in table.columns if name != column)]]
    with atomic(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False)


def _finish_sessions(path: Path) -> None:
    """Put the columns of a sessions.tsv in a fixed order and drop optional ones without values.

    The optional columns that Clinica writes, and their order, depend on the other subjects of its
    run.
    """
    table = _read_clinica(path)
    table = table.reindex(columns=[*dict.fromkeys([*_VISIT, *sorted(table.columns)])])
    table = table.fillna(MISSING)
    kept = [name for name in table.columns if name in _VISIT or (table[name] != MISSING).any()]
    with atomic(path) as temporary:
        table[kept].to_csv(temporary, sep="\t", index=False)


def _read_clinica(path: Path) -> pd.DataFrame:
    """Read a table as text, missing values as ``n/a``, whole numbers without decimals.

    Whether Clinica writes ``2`` or ``2.0`` depends on the other subjects of its run.
    """
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    return table.replace("", MISSING).replace(_WHOLE, r"\1", regex=True)
