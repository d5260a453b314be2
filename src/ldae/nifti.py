"""Geometry of NIfTI headers: which matrix holds, and what no library may guess.

nibabel and ITK read the same header by different rules. nibabel takes the sform wherever its code
is not 0, else the qform, and a default where both are 0. ITK takes the sform only under conditions
of its own, has another default, and refuses matrices with shear. The project follows nibabel, gives
ANTs the same, and refuses headers that do not say which side of the head is left.
"""

import zlib
from itertools import combinations

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

# Raised by nibabel and by gzip for a file that is damaged, or no image.
UNREADABLE = (OSError, EOFError, zlib.error, ImageFileError)
MAX_SHEAR = 0.1  # cosine between two voxel axes (6 degrees); affine registration takes out less
NO_SCALING = "The intensity scaling in its header (scl_slope, scl_inter) is no finite number."

NOT_REAL = "The image's voxels are not single real numbers but colours or complex numbers."


def is_real(dtype: np.dtype) -> bool:
    """Whether voxels are single real numbers, whole or not."""
    return dtype.kind in "biuf"


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
        return "Its place in space is not defined: the matrix is singular or not finite."
    if not np.isfinite(nib.io_orientation(matrix)[:, 0]).all():
        return "Two axes of the image are nearly the same."
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
