"""Image input and output: checks of a head when it is read, NIfTI with int16 intensities."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from ldae.files import atomic
from ldae.preprocess._ants import ants
from ldae.preprocess.shard_runner import ScanRejected

LEVELS = 32767  # of int16: a step is 3e-5 of the maximum, far below the noise of a scanner
COMPRESSION = 1  # of gzip: level 6 takes twice the time for 1 % of the size


def read_head(path: Path) -> ants.ANTsImage:
    """Read a T1w image as float32; ITK reads voxels that are not a number as 0.

    Raises:
        ScanRejected: the file is not one three-dimensional image, or all its voxels are equal.
    """
    image = ants.image_read(str(path))
    if image.dimension != 3 or image.components != 1:
        raise ScanRejected(f"the image has shape {image.shape}, expected one 3-D volume")
    values = image.numpy()
    if values.min() == values.max():
        raise ScanRejected("all voxels of the image are equal")
    return image


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


def border_fraction(mask: np.ndarray) -> float:
    """Fraction of the image's six outer faces that a mask (X, Y, Z) covers, 0 to 1."""
    faces = [mask.take(end, axis) > 0 for axis in range(3) for end in (0, -1)]
    return float(sum(face.sum() for face in faces) / sum(face.size for face in faces))


def affine(image: ants.ANTsImage) -> np.ndarray:
    """Affine (4, 4) from voxels to mm in RAS; ITK's own coordinates are LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(image.direction) * np.asarray(image.spacing)
    matrix[:3, 3] = image.origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
