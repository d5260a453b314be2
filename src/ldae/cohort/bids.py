"""Check and finish a BIDS folder of T1-weighted scans."""

import gzip
import shutil
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from ldae.files import MISSING, atomic, write_json

# Free-text fields of a NIfTI-1 header (offset, bytes): data_type, db_name, descrip, aux_file,
# intent_name. dcm2niix fills them with the time of day and ImageComments.
_TEXT_FIELDS = ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16))

# Clinica 0.12 joins APOERES by row number, so these two are other subjects' values; apoe4 is right.
_WRONG = ("apoe_gen1", "apoe_gen2")


def scan_path(bids: str | Path, scan_id: str) -> Path:
    """Path of the T1-weighted image of ``scan_id`` (``sub-..._ses-...``) in a BIDS folder."""
    subject, session = scan_id.split("_")
    return Path(bids) / subject / session / "anat" / f"{scan_id}_T1w.nii.gz"


def check_scans(bids: Path, scan_ids: Iterable[str], jobs: int = 1) -> dict[str, str]:
    """Find scans without exactly one good image; the headers of good ones lose their free text.

    Returns:
        The faults, a sentence each, by scan_id; a good scan is not listed.
    """
    scan_ids = sorted(set(scan_ids))
    check = partial(_check_scan, bids)
    if jobs == 1:
        faults = list(map(check, scan_ids))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            faults = list(pool.map(check, scan_ids, chunksize=8))
    return {scan: fault for scan, fault in zip(scan_ids, faults, strict=True) if fault}


def _check_scan(bids: Path, scan_id: str) -> str | None:
    path = scan_path(bids, scan_id)
    stray = sorted(file.name for file in path.parent.glob("*.nii"))
    if stray:
        return f"The conversion was not finished: {', '.join(stray)} was left uncompressed."
    images = sorted(file.name for file in path.parent.glob("*.nii.gz"))
    if not images:
        return "dcm2niix made no image: the DICOM series is damaged or incomplete."
    if images != [path.name]:
        return f"There should be one image, but there are {', '.join(images)}."
    try:
        content = gzip.decompress(path.read_bytes())
        image = nib.Nifti1Image.from_bytes(content)
        data = np.asanyarray(image.dataobj)  # (X, Y, Z)
    except (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError) as error:
        return f"The converted image cannot be read: {error}."
    fault = image_fault(data)
    if fault is None and any(content[at : at + size].strip(b"\0") for at, size in _TEXT_FIELDS):
        _blank_text(path, content)
    return fault


def image_fault(data: np.ndarray) -> str | None:
    """Why voxels are not those of a usable 3-D image, in a sentence, or None."""
    if data.ndim != 3 or min(data.shape) < 2:
        return f"The converted image is not 3-D: its shape is {data.shape}."
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        return "The converted image has values that are not finite."
    if low == high:
        return f"The converted image is constant: all voxels are {low:g}."
    return None


def _blank_text(path: Path, content: bytes) -> None:
    """Rewrite a compressed NIfTI-1 image with empty free-text fields, voxels untouched."""
    blank = bytearray(content)
    for at, size in _TEXT_FIELDS:
        blank[at : at + size] = bytes(size)
    with atomic(path) as temporary:
        temporary.write_bytes(gzip.compress(blank, compresslevel=1, mtime=0))


def write_sidecars(bids: Path, converted: pd.DataFrame) -> None:
    """Write a JSON sidecar beside each converted scan: what ADNI's tables know of it.

    Args:
        converted: Rows of Clinica's list of scans (scan_id, image_id, Field_Strength, Sequence,
            Original).
    """
    for row in converted.itertuples():
        content = {"Modality": "MR", "SeriesDescription": row.Sequence, "ImageID": row.image_id}
        strength = pd.to_numeric(row.Field_Strength, errors="coerce")
        if np.isfinite(strength):
            content["MagneticFieldStrength"] = float(strength)
        content["ProcessedByADNI"] = row.Original != "True"
        path = scan_path(bids, row.scan_id)
        write_json(content, path.with_name(f"{row.scan_id}_T1w.json"))


def finish_subjects(bids: Path, scan_ids: set[str]) -> None:
    """Leave nothing but ``scan_ids`` in the folder, and put the columns in BIDS's order.

    Sessions without a good scan and subjects without any are removed, participants.tsv included.
    """
    subjects = {scan.split("_")[0] for scan in scan_ids}
    for subject in sorted(bids.glob("sub-*")):
        if subject.name not in subjects:
            shutil.rmtree(subject)
            continue
        for session in sorted(subject.glob("ses-*")):
            if f"{subject.name}_{session.name}" not in scan_ids:
                shutil.rmtree(session)
        _first_column(subject / f"{subject.name}_sessions.tsv", "session_id")
    _first_column(bids / "participants.tsv", "participant_id", subjects, _WRONG)


def _first_column(
    path: Path, column: str, keep: set[str] | None = None, drop: Iterable[str] = ()
) -> None:
    """Move ``column`` to a TSV's front, keep the rows where it is in ``keep``, drop columns."""
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table = table.drop(columns=list(drop), errors="ignore")
    if keep is not None:
        table = table[table[column].isin(keep)]
    table = table[[column, *(name for name in table.columns if name != column)]]
    with atomic(path) as temporary:
        table.replace("", MISSING).to_csv(temporary, sep="\t", index=False)
