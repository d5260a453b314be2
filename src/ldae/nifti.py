"""Geometry of NIfTI headers: which matrix holds, and what no library may guess.

nibabel and ITK read the same header by different rules. nibabel takes the sform wherever its code
is not 0, else the qform, and a default where both are 0. ITK takes the sform only under conditions
of its own, has another default, and refuses matrices with shear. The project follows nibabel, gives
ANTs the same, and refuses headers that do not say which side of the head is left.

Files are read whole here, with sentences for what is wrong with them: nibabel repairs some headers
in silence (a voxel edge of 0 becomes 1 mm), does not check the sum at the end of a compressed file,
and names its own classes in its errors.
"""

import gzip
import zlib
from io import BytesIO
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

MAX_SHEAR = 0.1  # cosine between two voxel axes (6 degrees); affine registration takes out less
NO_SCALING = "The intensity scaling in its header (scl_slope, scl_inter) is no finite number."

NOT_NIFTI = "The image is not NIfTI-1."
NO_PLACE = "Its place in space is not defined: the matrix is singular or not finite."
CUT_OFF = "The image cannot be read (cut off or damaged)."
EDGES = (0.05, 20.0)  # mm; a voxel of a head has no shorter or longer one
HEADER = 348  # bytes
FIRST_VOXEL = 352  # the first byte after the header where a voxel may be
NOT_REAL = "The image's voxels are not single real numbers but colours or complex numbers."


class ImageUnreadable(Exception):
    """A file is no readable NIfTI-1 image; the message is a sentence without the file's name."""


def read_image(path: str | Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    """Read a NIfTI-1 file whole, compressed by gzip if its name ends in ``.gz``.

    Returns:
        The image and its voxels, scaled by the header, without trailing axes of length 1.

    Raises:
        ImageUnreadable: the file cannot be read, is damaged or cut off, or is no NIfTI-1 image.
    """
    content = _whole(Path(path))
    _check_header(content)
    try:
        image = nib.Nifti1Image.from_bytes(content)
        return image, as_volume(np.asanyarray(image.dataobj))
    # Of a quaternion that is none, where the qform alone is set.
    except (ValueError, HeaderDataError) as error:
        raise ImageUnreadable(NO_PLACE) from error


def _whole(path: Path) -> bytes:
    """Bytes of a file, decompressed; gzip's sum at their end is checked."""
    try:
        content = path.read_bytes()
    except OSError as error:
        cause = error.strerror or "the system gives no reason"
        raise ImageUnreadable(f"The image cannot be read ({cause}).") from error
    if not content:
        raise ImageUnreadable("The image cannot be read (the file is empty).")
    if path.suffix.lower() != ".gz":
        if content[:2] == b"\x1f\x8b":
            raise ImageUnreadable("It is compressed by gzip, but its name does not end in .gz.")
        return content
    if content[:2] != b"\x1f\x8b":
        raise ImageUnreadable(
            "The image cannot be read (its name ends in .gz, but it is not compressed by gzip)."
        )
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageUnreadable(CUT_OFF) from error


def _check_header(content: bytes) -> None:
    """Raise :class:`ImageUnreadable` on headers that nibabel refuses, or repairs by a guess."""
    if content[HEADER - 4 : HEADER] != b"n+1\0":  # ni1: the voxels are in another file
        raise ImageUnreadable(NOT_NIFTI)
    header = nib.Nifti1Header.from_fileobj(BytesIO(content), check=False)
    number, *lengths = map(int, header["dim"])
    if not 1 <= number <= 7 or min(lengths[:number]) < 1:
        raise ImageUnreadable(f"The image is not 3-D: its header gives the shape {lengths[:3]}.")
    try:
        voxel = header.get_data_dtype().itemsize
    except (HeaderDataError, KeyError):
        voxel = 0
    if voxel == 0:
        code = int(header["datatype"])
        raise ImageUnreadable(f"Its header gives an unknown type of voxels ({code}).")
    offset = float(header["vox_offset"])
    if not np.isfinite(offset) or offset < FIRST_VOXEL:
        raise ImageUnreadable(f"Its header says that the voxels begin at byte {offset:g}.")
    if offset + float(voxel) * np.prod(np.array(lengths[:number], float)) > len(content):
        raise ImageUnreadable(CUT_OFF)
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isfinite(slope) and slope != 0 and not np.isfinite(inter):
        raise ImageUnreadable(NO_SCALING)
    edges = header["pixdim"][1 : 1 + min(number, 3)]
    if int(header["sform_code"]) <= 0 < int(header["qform_code"]) and not (edges > 0).all():
        shown = " x ".join(f"{edge:g}" for edge in edges)
        raise ImageUnreadable(f"The voxel spacing of its header is {shown} mm.")


def is_real(dtype: np.dtype) -> bool:
    """Whether voxels are single real numbers, whole or not."""
    return dtype.kind in "biuf"


def is_finite(values: np.ndarray) -> bool:
    """Whether all values are finite in float32, in which every image is processed."""
    return bool(np.isfinite(np.float32([values.min(), values.max()])).all())


def geometry_fault(image: nib.Nifti1Image) -> str | None:
    """Fault of an image's place in space, in a sentence that follows its name, or None."""
    if not isinstance(image, nib.Nifti1Pair):
        return "It is not a NIfTI image."
    (qform, q_code), (sform, s_code) = _qform(image), image.get_sform(coded=True)
    if not q_code and not s_code:
        return (
            "Its header does not say how the head lies (the codes of qform and sform are both 0), "
            "so left and right are unknown. Convert it from DICOM again, or set the right matrix."
        )
    matrix = image.affine
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) <= 1e-9:
        return NO_PLACE
    if not np.isfinite(nib.io_orientation(matrix)[:, 0]).all():
        return "Two axes of the image are nearly the same."
    edges = np.linalg.norm(matrix[:3, :3], axis=0)
    if edges.min() < EDGES[0] or edges.max() > EDGES[1]:
        shown = " x ".join(f"{edge:g}" for edge in edges)
        return f"Its voxels of {shown} mm are none of a head ({EDGES[0]:g} to {EDGES[1]:g} mm)."
    if q_code and s_code and np.linalg.det(qform[:3, :3]) * np.linalg.det(sform[:3, :3]) < 0:
        return (
            "The two matrices of its header (qform and sform) differ in which side is left. "
            "Convert it from DICOM again, or set the wrong one's code to 0."
        )
    if shear(matrix) > MAX_SHEAR:
        return (
            f"Its matrix has a shear of {shear(matrix):.2f} (cosine between two axes; at most "
            f"{MAX_SHEAR}). Resample it to a grid with right angles."
        )
    return None


def _qform(image: nib.Nifti1Image) -> tuple[np.ndarray | None, int]:
    """The qform and its code; None and 0 where it is not set or its quaternion is none.

    nibabel raises on such a quaternion, whatever its code, though it takes the sform.
    """
    if int(image.header["qform_code"]) <= 0:
        return None, 0
    try:
        return image.get_qform(coded=True)
    except (ValueError, HeaderDataError):
        return None, 0


def shear(matrix: np.ndarray) -> float:
    """Largest cosine between two voxel axes of a matrix (4, 4); 0 where all angles are right."""
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return max(abs(float(axes[:, i] @ axes[:, j])) for i, j in combinations(range(3), 2))


def without_shear(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The nearest matrix (4, 4) with right angles, same voxel edges, and same place of the centre.

    Args:
        matrix: Voxels to mm.
        shape: (X, Y, Z) of the image.
    """
    edges = np.linalg.norm(matrix[:3, :3], axis=0)
    left, _, right = np.linalg.svd(matrix[:3, :3] / edges)
    nearest = matrix.copy()
    nearest[:3, :3] = (left @ right) * edges
    centre = (np.array(shape[:3]) - 1) / 2
    nearest[:3, 3] += (matrix[:3, :3] - nearest[:3, :3]) @ centre
    return nearest


def as_volume(data: np.ndarray) -> np.ndarray:
    """An array (X, Y, Z, 1, ...) without its trailing axes of length 1; any other as it is."""
    extra = data.shape[3:]
    return data.reshape(data.shape[:3]) if extra and set(extra) == {1} else data


def corners(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Corners of an image (X, Y, Z) in mm, (8, 3)."""
    ends = np.array(np.meshgrid(*((0, n - 1) for n in shape[:3]), indexing="ij")).reshape(3, 8)
    return (matrix[:3, :3] @ ends + matrix[:3, 3:]).T


def distance(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest difference, mm along an axis, of the corners of an image under two matrices."""
    return float(np.abs(corners(one, shape) - corners(other, shape)).max())
