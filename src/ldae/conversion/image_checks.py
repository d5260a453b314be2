"""Image checks of a download: cheap checks of each image before hours of conversion.

Each check returns the fault of the image, in a sentence, or None. The sentences quote no text of a
header, which may name a person.

One DICOM file with many frames (enhanced DICOM) states positions, orientations and spacing in
sequences, one item per frame. The checks of geometry do not apply to it: its frames are counted
and its pixels must be complete. :func:`ldae.conversion.bids.inspect_image` later checks the image
that dcm2niix makes of it.
"""

import logging
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.multival import MultiValue

from ldae.conversion.t1w_preference import CONTRAST, contrast_key
from ldae.nifti import NOT_REAL, ImageUnreadable, geometry_fault, is_finite, is_real, read_image

MIN_SLICES = 20  # a whole head at 6 mm has more; localisers have 3 to 15
MAX_EDGE = 6.0  # mm; ADNI's T1-weighted scans have voxels of about 1 mm
MAX_RATIO = 5.0  # longest to shortest edge of a voxel; above: no 3-D acquisition of a head
GAP = 1.5  # median steps; a longer step between slices means a missing slice
TURNED = 0.01  # of direction cosines; a larger difference is another orientation, not rounding
log = logging.getLogger(__name__)
_TAGS = [
    "SeriesInstanceUID", "PatientID", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "Rows", "Columns", "BitsAllocated", "NumberOfFrames",
]  # fmt: skip
_PIXEL_DATA = (0x7FE0, 0x0010)
_LONG = {b"OB", b"OW", b"UN"}  # value representations whose length has four bytes


@dataclass(frozen=True)
class _Slice:
    """Header values of one DICOM file that the checks need (mm; direction cosines)."""

    series: str
    patient: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    size: tuple[int, int]
    frames: int
    complete: bool


def dicom_fault(files: Iterable[Path], ptid: str | None) -> str | None:
    """Check that the DICOM files of one series form one regular 3-D image of ``ptid``.

    None: of anybody.

    Returns:
        The first fault, in a sentence, or None.
    """
    slices, broken = [], []
    for path in files:
        try:
            slices.append(_read_slice(path))
        except OSError as error:
            broken.append(error.strerror or "the system gives no reason")
        except Exception as error:  # pydicom raises nearly anything on bytes that are not DICOM
            log.info("%s: %s", path.name, type(error).__name__)
            broken.append("no DICOM, or damaged")
    total = len(slices) + len(broken)
    if broken:
        return f"{len(broken)} of {total} files cannot be read ({broken[0]})."
    cut = sum(not piece.complete for piece in slices)
    if cut:
        return f"{cut} of {total} files are cut off: their pixels are not complete."
    if ptid is not None and any(piece.patient not in ("", _plain(ptid)) for piece in slices):
        return "The PatientID in the header is not that of the subject's folder."
    if len({piece.series for piece in slices}) > 1:
        return f"{len({piece.series for piece in slices})} series are mixed in this image."
    if len({piece.size for piece in slices}) > 1:
        return "Slices differ in their numbers of rows and columns."
    return _geometry_fault(slices)


def dicom_contrast(path: Path) -> str | None:
    """Reason why a readable DICOM image is never taken: its header names a contrast agent."""
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(CONTRAST))
    values = {key: header.get(key) for key in CONTRAST}
    words = {key: [*v] if isinstance(v, MultiValue) else v for key, v in values.items()}
    if key := contrast_key(words):
        return f"The scan was taken with contrast agent ({key} in its DICOM header)."
    return None


def _geometry_fault(slices: list[_Slice]) -> str | None:
    """Faults of the slices' number, orientation, positions and spacing."""
    number = sum(piece.frames for piece in slices)
    if number < MIN_SLICES:
        return f"Only {number} slices: a localiser or a fragment, no 3-D image of a head."
    if len(slices) == 1:
        return None  # enhanced DICOM has its geometry in sequences, which dcm2niix reads
    if any(piece.position is None or piece.orientation is None for piece in slices):
        return "Slices have no position or no orientation."
    turned = np.ptp([piece.orientation for piece in slices], axis=0)  # (6,)
    if turned.max() > TURNED:
        return "Slices of more than one orientation are mixed in this image."
    spacing = slices[0].spacing
    if any(piece.spacing is None or min(piece.spacing) <= 0 for piece in slices):
        return "The pixel spacing is absent or zero."
    normal = np.cross(*np.reshape(slices[0].orientation, (2, 3)))
    along = np.sort([np.dot(piece.position, normal) for piece in slices])  # (slices,)
    steps = np.diff(along)
    median = float(np.median(steps))
    if median <= 0 or steps.min() < 0.05 * median:
        return "A slice is there twice: two files have the same position."
    if steps.max() > GAP * median:
        gap = f"{number} slices {median:.2f} mm apart, and a gap of {steps.max():.2f} mm"
        return f"A slice is missing: {gap}."
    return _edges_fault((*spacing, median))


def _edges_fault(edges: Iterable[float]) -> str | None:
    """Voxel edges (mm) that no T1-weighted scan of a head has."""
    edges = [float(edge) for edge in edges]
    shown = " x ".join(f"{edge:.2f}" for edge in edges)
    if not np.isfinite(edges).all() or min(edges) <= 0:
        return "The voxel spacing is absent or zero."
    if max(edges) > MAX_EDGE or max(edges) > MAX_RATIO * min(edges):
        return f"The voxels are too coarse or too unequal for a 3-D scan: {shown} mm."
    return None


def _read_slice(path: Path) -> _Slice:
    with path.open("rb") as stream:
        header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS)
        rows, columns = int(header.Rows), int(header.Columns)
        frames = int(header.get("NumberOfFrames") or 1)
        needed = rows * columns * frames * int(header.BitsAllocated) // 8
        little = header.original_encoding[1] is not False
        complete = _has_pixels(stream, path.stat().st_size, needed, little)
    return _Slice(
        series=str(header.get("SeriesInstanceUID", "")),
        patient=_plain(header.get("PatientID") or ""),
        position=_numbers(header, "ImagePositionPatient", 3),
        orientation=_numbers(header, "ImageOrientationPatient", 6),
        spacing=_numbers(header, "PixelSpacing", 2),
        size=(rows, columns),
        frames=frames,
        complete=complete,
    )


def _has_pixels(stream, size: int, needed: int, little: bool) -> bool:
    """Whether the pixel data that start at the stream's position are complete in the file.

    Compressed pixels (of undefined length) count as complete if there are any.
    """
    start, head = stream.tell(), stream.read(12)
    if len(head) < 12:
        return False
    order = "<" if little else ">"
    if struct.unpack(f"{order}HH", head[:4]) != _PIXEL_DATA:
        return False
    explicit = head[4:6] in _LONG
    (length,) = struct.unpack(f"{order}I", head[8:12] if explicit else head[4:8])
    if length == 0xFFFFFFFF:
        return size > start + 12
    return length >= needed and start + (12 if explicit else 8) + length <= size


def _numbers(header: pydicom.Dataset, tag: str, length: int) -> tuple[float, ...] | None:
    """The numbers of a tag, or None unless there are ``length`` finite ones."""
    value = header.get(tag)
    if not isinstance(value, MultiValue) or len(value) != length:
        return None
    numbers = tuple(float(number) for number in value)
    return numbers if np.isfinite(numbers).all() else None


def _plain(name: str) -> str:
    """An identifier without case and punctuation, for comparison."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def nifti_fault(path: Path) -> str | None:
    """Check that a NIfTI file holds one regular, finite 3-D image.

    Returns:
        The first fault, in a sentence, or None.
    """
    try:
        image, data = read_image(path)
    except ImageUnreadable as error:
        return str(error)
    if data.ndim != 3:
        return f"The image is {data.ndim}-D, not 3-D."
    if min(data.shape) < MIN_SLICES:
        return f"Only {min(data.shape)} slices: a localiser or a fragment, no 3-D image of a head."
    if not is_real(data.dtype):
        return NOT_REAL
    if not is_finite(data):
        return "The image has voxels that are not finite numbers."
    if data.min() == data.max():
        return "The image is constant: all voxels have the same value."
    if fault := geometry_fault(image):
        return fault
    return _edges_fault(image.header.get_zooms()[:3])
