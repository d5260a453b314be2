"""Image input and output: heads as every library should see them, NIfTI with int16 intensities."""

import gzip
import logging
from pathlib import Path

import nibabel as nib
import numpy as np

from ldae.files import atomic
from ldae.nifti import (
    NOT_REAL,
    ImageUnreadable,
    distance,
    geometry_fault,
    is_real,
    read_image,
    shear,
    without_shear,
)
from ldae.preprocess._ants import ants
from ldae.preprocess.shard_runner import ScanRejected

LEVELS = 32767  # of int16: a step is 3e-5 of the maximum, far below the noise of a scanner
TO_ITK = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to ITK's LPS, and back
SAME_PLACE = 0.01  # mm between the corners of an image as nibabel and as ITK read them
SAME_GRID = 0.1  # mm between the corners of a scan and its mask
ROUNDING = 1e-4  # cosine between axes that the header's float32 leaves
NEGATIVE = 0.01  # fraction of voxels, and of the range below zero, that is no ringing of a filter
LOWEST = 0.25  # of the range: up to here the background's intensity is the head's lowest
COMPRESSION = 1  # of gzip: level 6 takes twice the time for 1 % of the size


def read_scan(path: Path) -> ants.ANTsImage:
    """Read an image as float32, with the values and the place in space that nibabel reads.

    ANTs wraps negative and 64-bit integers, and ITK has other rules for headers
    (:mod:`ldae.nifti`). Where both read the same, the image is ANTs's own, bit for bit. Voxels that
    are not a number become 0; a slight shear is replaced by the nearest rotation, with a warning.

    Raises:
        ScanRejected: the file is not one three-dimensional image with a known place in space, or
            all its voxels are equal.
    """
    stored, values = _read(path)
    if values.ndim != 3 or min(values.shape) < 2:
        raise ScanRejected(f"the image has shape {values.shape}, expected one 3-D volume")
    dtype = stored.get_data_dtype()
    if fault := geometry_fault(stored) if is_real(dtype) else NOT_REAL:
        raise ScanRejected(_clause(fault))
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if np.isinf(values).any():
        raise ScanRejected("the image has values that are not finite")
    values = np.nan_to_num(values)
    if values.min() == values.max():
        raise ScanRejected("all voxels of the image are equal")
    matrix = without_shear(stored.affine, values.shape)
    if shear(stored.affine) > ROUNDING:
        logging.warning("%s: a shear of %.3f is ignored", path.name, shear(stored.affine))
    elif dtype.itemsize < 8 or dtype.kind == "f":
        image = ants.image_read(str(path))
        same = image.shape == values.shape and np.array_equal(image.numpy(), values)
        if same and distance(affine(image), matrix, values.shape) < SAME_PLACE:
            return image
    edges = np.linalg.norm(matrix[:3, :3], axis=0)
    itk = TO_ITK @ matrix
    return ants.from_numpy(
        values,
        origin=itk[:3, 3].tolist(),
        spacing=edges.tolist(),
        direction=itk[:3, :3] / edges,
    )


def read_mask(path: Path, scan: ants.ANTsImage) -> np.ndarray:
    """Read the mask of a scan, bool (X, Y, Z), with its place by the same rule as the scan's.

    Raises:
        ScanRejected: it cannot be read, is no image of real numbers with a known place in space, or
            lies on another grid than the scan.
    """
    try:
        stored, values = _read(path)
    except ScanRejected as error:
        raise ScanRejected(f"of the brain mask: {error}") from error
    if values.shape != scan.shape:
        raise ScanRejected(f"the brain mask lies on another grid than the scan: {values.shape}")
    if fault := geometry_fault(stored) if is_real(stored.get_data_dtype()) else NOT_REAL:
        raise ScanRejected(f"of the brain mask: {_clause(fault)}")
    matrix = without_shear(stored.affine, values.shape)
    if distance(matrix, affine(scan), scan.shape) > SAME_GRID:
        raise ScanRejected("the brain mask lies on another grid than the scan")
    return values > 0.5


def _read(path: Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    """:func:`ldae.nifti.read_image`, whose sentence becomes the reason."""
    try:
        return read_image(path)
    except ImageUnreadable as error:
        raise ScanRejected(_clause(str(error))) from error


def _clause(sentence: str) -> str:
    """A sentence without its capital and full stop, as reasons are written."""
    return f"{sentence[0].lower()}{sentence[1:].removesuffix('.')}"


def read_head(path: Path) -> ants.ANTsImage:
    """Read a raw head (:func:`read_scan`) with its background at zero, as N4's logarithm needs.

    Heads with many voxels below zero (z-scores, uniform images of MP2RAGE) are shifted: by the
    intensity of the background where that is among the lowest, else by the lowest one.
    """
    image = read_scan(path)
    values = image.numpy()
    low, high = float(values.min()), float(values.max())
    if (values < -NEGATIVE * (high - low)).mean() <= NEGATIVE:
        return image
    background = float(np.median(outer_faces(values)))
    zero = background if background - low < LOWEST * (high - low) else low
    return image.new_image_like(np.maximum(values - np.float32(zero), 0))


def write_image(image: ants.ANTsImage, path: Path) -> None:
    """Write a NIfTI file: intensities as int16 with a slope, masks (uint8) as they are.

    This takes half the bytes and the time of float32. Zero stays exactly zero.
    """
    values, slope = image.numpy(), 1.0
    if values.dtype != np.uint8:
        slope = float(np.abs(values).max()) / LEVELS or 1.0
        values = np.round(values / np.float32(slope)).astype(np.int16)
    header = nib.Nifti1Image(values, affine(image)).header
    header["scl_slope"], header["scl_inter"], header["vox_offset"] = slope, 0, 352
    header.set_xyzt_units("mm")
    content = header.binaryblock + bytes(4) + values.tobytes(order="F")
    with atomic(path) as temporary:
        temporary.write_bytes(gzip.compress(content, COMPRESSION, mtime=0))


def as_mask(values: np.ndarray, image: ants.ANTsImage) -> ants.ANTsImage:
    """A boolean array as a mask (uint8) on the grid of ``image``."""
    return image.new_image_like(values.astype(np.float32)).clone("unsigned char")


def outer_faces(values: np.ndarray) -> np.ndarray:
    """Voxels of the six outer faces of an image (X, Y, Z), as one row."""
    ends = ((axis, end) for axis in range(3) for end in (0, -1))
    return np.concatenate([values.take(end, axis).ravel() for axis, end in ends])


def border_fraction(mask: np.ndarray) -> float:
    """Fraction of the image's six outer faces that a mask (X, Y, Z) covers, 0 to 1."""
    return float((outer_faces(mask) > 0).mean())


def affine(image: ants.ANTsImage) -> np.ndarray:
    """Affine (4, 4) from voxels to mm in RAS; ITK's own coordinates are LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(image.direction) * np.asarray(image.spacing)
    matrix[:3, 3] = image.origin
    return TO_ITK @ matrix
