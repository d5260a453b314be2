"""Quality measures of a registered scan, and the bounds that exclude one."""

from collections.abc import Mapping

import numpy as np

from ldae.preprocess._ants import ants

BOUNDS = (  # key in config["preprocess"]["qc"], measure, +1: at least, -1: at most
    ("min_dice", "dice", 1),
    ("min_brain_ml", "brain_ml", 1),
    ("max_brain_ml", "brain_ml", -1),
)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice overlap of two masks of one shape, 0 to 1."""
    a, b = a > 0, b > 0
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def affine_determinant(transform: str) -> float:
    """Native volume per template volume of an ITK linear transform.

    ITK's transform takes template points to native points, so 0.9 means that the brain is smaller
    than the template, and native ml / determinant are ml in the template's scale.
    """
    linear = ants.read_transform(transform)
    origin = np.array(linear.apply_to_point((0.0, 0.0, 0.0)))
    columns = [np.array(linear.apply_to_point(tuple(unit))) - origin for unit in np.eye(3)]
    return float(np.linalg.det(np.column_stack(columns)))


def measure(
    brain: ants.ANTsImage,
    mask: ants.ANTsImage,
    moved: ants.ANTsImage,
    moved_mask: ants.ANTsImage,
    template: ants.ANTsImage,
    template_mask: ants.ANTsImage,
    transforms: list[str],
) -> dict[str, float]:
    """Measures of one scan.

    Args:
        brain, mask: Native grid.
        moved, moved_mask, template, template_mask: Target grid.
        transforms: Files of the estimated transforms; the linear one is a .mat.

    Returns:
        brain_ml: Volume of the native mask.
        dice: Overlap of the registered mask with the template's.
        ncc: Pearson correlation of brain and template inside the template's mask.
        affine_determinant: Native volume per template volume.
        snr: Mean over standard deviation of the brain's native intensities (MRIQC's
            foreground SNR).
    """
    inside = template_mask.numpy() > 0
    foreground = brain.numpy()[mask.numpy() > 0]
    values = {
        "brain_ml": float(foreground.size * np.prod(mask.spacing) / 1000),
        "dice": dice(moved_mask.numpy(), inside),
        "ncc": float(np.corrcoef(moved.numpy()[inside], template.numpy()[inside])[0, 1]),
        "affine_determinant": affine_determinant(
            next(path for path in transforms if path.endswith(".mat"))
        ),
        "snr": float(foreground.mean() / foreground.std(ddof=1)),
    }
    return {name: round(value, 5) for name, value in values.items()}


def judge(measures: Mapping[str, float], bounds: Mapping[str, float]) -> str | None:
    """The first measure outside config["preprocess"]["qc"] as a sentence, or None."""
    for key, name, sign in BOUNDS:
        if sign * measures[name] < sign * bounds[key]:
            side = "below" if sign > 0 else "above"
            return f"QC: {name} {measures[name]:.4g} is {side} {key} {bounds[key]:.4g}"
    return None
