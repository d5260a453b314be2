"""Quality measures of a registered scan: overlap, correlation, noise, bias, asymmetry."""

import numpy as np
from scipy import ndimage as ndi
from skimage.filters import threshold_multiotsu

from ldae.preprocess._ants import ants
from ldae.preprocess.asymmetry import asymmetry
from ldae.preprocess.image_io import border_fraction
from ldae.preprocess.shard_runner import ScanRejected

NO_TISSUES = "the intensities of the brain do not tell three tissues apart"
NO_NOISE = 1e-6  # SD over mean that float32 rounding leaves of constant values
FIELD_SAMPLES = 20_000  # white-matter voxels, about, to which the residual field is fitted


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice overlap of two masks of the same shape, 0 to 1."""
    a, b = a > 0, b > 0
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation; 0 if one is constant, such as a brain moved out of the mask."""
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0


def affine_matrix(transform: str) -> np.ndarray:
    """Matrix (4, 4) of an ITK linear transform: template points to native points, mm in LPS."""
    linear = ants.read_transform(transform)
    origin = np.array(linear.apply_to_point((0.0, 0.0, 0.0)))
    columns = [np.array(linear.apply_to_point(tuple(unit))) - origin for unit in np.eye(3)]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.column_stack(columns), origin
    return matrix


def points_of(mask: ants.ANTsImage) -> np.ndarray:
    """Centres (N, 3) of a mask's voxels, mm in LPS (ITK's coordinates)."""
    index = np.argwhere(mask.numpy() > 0) * np.array(mask.spacing)
    return index @ np.asarray(mask.direction).T + np.array(mask.origin)


def outside_fraction(image: ants.ANTsImage, points: np.ndarray) -> float:
    """Fraction of points (N, 3), mm in LPS, outside of the image's field of view, 0 to 1."""
    index = (points - np.array(image.origin)) @ np.asarray(image.direction) / image.spacing
    inside = (index > -0.5) & (index < np.array(image.shape) - 0.5)
    return float(1 - inside.all(axis=1).mean())


def tissue_measures(brain: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Noise, contrast and residual bias of a native brain (X, Y, Z), all without unit.

    Two thresholds (Otsu 1979, three classes) of the brain, blurred over 3 voxels, separate CSF,
    grey and white matter. The measures are those of the unblurred brain.

    Returns:
        snr: Mean over standard deviation of the inner white matter, without its smooth field.
        cnr: Difference of the means of white and grey matter over sqrt(SD_wm² + SD_gm²): MRIQC's
            definition (Magnotta and Friedman 2006) without the air, since skull stripping and
            defacing remove it.
        residual_bias: Standard deviation of the log of a quadratic field fitted to the inner white
            matter: 0.03 is a coil's shading of 3 %.

    Raises:
        ScanRejected: three tissues cannot be separated, or the white matter has no noise.
    """
    box = ndi.find_objects(mask.astype(np.uint8))[0]
    values, inside = brain[box].astype(np.float32), mask[box] > 0
    blurred = ndi.uniform_filter(values, 3) / np.maximum(
        ndi.uniform_filter(inside.astype(np.float32), 3), 1 / 27
    )
    try:
        grey_from, white_from = threshold_multiotsu(blurred[inside], classes=3, nbins=128)
    except ValueError as error:  # too few values, or too similar ones
        raise ScanRejected(NO_TISSUES) from error
    white = inside & (blurred > white_from)
    inner = ndi.binary_erosion(white)
    inner = (inner if inner.sum() > 100 else white) & (values > 0)
    grey = values[inside & (blurred > grey_from) & ~white]
    if not (inner.any() and grey.size):
        raise ScanRejected(NO_TISSUES)
    field = _log_field(values, inner)
    flat = values[inner] * np.exp(-field)
    noise = np.hypot(values[white].std(), grey.std())
    if not (flat.std() > NO_NOISE * flat.mean() and noise > 0):
        raise ScanRejected("the white matter has no noise at all, which no scan has")
    return {
        "snr": float(flat.mean() / flat.std()),
        "cnr": float((values[white].mean() - grey.mean()) / noise),
        "residual_bias": float(field.std()),
    }


def _log_field(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Quadratic polynomial, without its constant, fitted to log(``values``) at ``where``: (N,)."""
    x, y, z = (np.argwhere(where) / np.array(where.shape) * 2 - 1).T
    terms = np.column_stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z])
    some = slice(None, None, max(1, len(x) // FIELD_SAMPLES))
    weights = np.linalg.lstsq(terms[some], np.log(values[where][some]), rcond=None)[0]
    return terms[:, 1:] @ weights[1:]


def measure(
    brain: ants.ANTsImage,
    mask: ants.ANTsImage,
    moved: ants.ANTsImage,
    moved_mask: ants.ANTsImage,
    template: ants.ANTsImage,
    template_mask: ants.ANTsImage,
    affine: str | None,
) -> dict[str, float]:
    """Measures of one scan, rounded to 5 decimals.

    Args:
        brain, mask: On the native grid.
        moved, moved_mask, template, template_mask: On the target grid.
        affine: File of the estimated affine; None if the scan was given in the template's space.

    Returns:
        brain_ml: Volume of the native mask, ml.
        dice: Overlap of the registered mask with the template's, 0 to 1.
        ncc: Pearson correlation of brain and template inside the template's mask.
        affine_determinant: Native volume per template volume. ITK's transform takes template
            points to native points: native ml / determinant are ml in the template's scale. Absent
            without an affine.
        snr, cnr, residual_bias: see :func:`tissue_measures`.
        fov_cut: Fraction of the template's mask, moved to the head, outside its field of view.
        border: Fraction of the image's outer faces that the mask covers.
        asymmetry: see :func:`ldae.preprocess.asymmetry.asymmetry`. Absent if the template is not in
            MNI space.

    Raises:
        ScanRejected: see :func:`tissue_measures`.
    """
    inside = template_mask.numpy() > 0
    matrix = np.eye(4) if affine is None else affine_matrix(affine)
    sides = asymmetry(moved, template_mask)
    points = points_of(template_mask) @ matrix[:3, :3].T + matrix[:3, 3]
    values = {
        "brain_ml": float((mask.numpy() > 0).sum() * np.prod(mask.spacing) / 1000),
        "dice": dice(moved_mask.numpy(), inside),
        "ncc": correlation(moved.numpy()[inside], template.numpy()[inside]),
        **({} if affine is None else {"affine_determinant": float(np.linalg.det(matrix[:3, :3]))}),
        **tissue_measures(brain.numpy(), mask.numpy()),
        "fov_cut": outside_fraction(brain, points),
        "border": border_fraction(mask.numpy()),
        **({} if sides is None else {"asymmetry": sides}),
    }
    return {name: round(value, 5) for name, value in values.items()}
