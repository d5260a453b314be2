"""QC bounds: names and bounds of the quality measures, outlyingness of a scan in the cohort."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

MAD_TO_SD = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class Measure:
    """A quality measure of one scan.

    Attributes:
        key: Its key in ``*_desc-qc.json``.
        label: Its name, with the unit.
        worse: Direction of bad values: -1 low, 1 high, 0 both (too little noise: a blurred scan).
        bounds: Keys of config["preprocess"]["qc"] that bound it; they begin with ``min`` or
            ``max``.
    """

    key: str
    label: str
    worse: int
    bounds: tuple[str, ...] = ()


MEASURES = (
    Measure("ncc", "Correlation with template", -1, ("min_ncc",)),
    Measure("dice", "Dice with template mask", -1, ("min_dice",)),
    Measure("brain_ml", "Brain volume (ml)", 0, ("min_brain_ml", "max_brain_ml")),
    Measure(
        "affine_determinant", "Determinant of affine", 0, ("min_determinant", "max_determinant")
    ),
    Measure("snr", "Signal to noise", 0, ("min_snr",)),
    Measure("cnr", "Contrast to noise", 0, ("min_cnr",)),
    Measure("residual_bias", "Residual bias (SD of log)", 1, ("max_residual_bias",)),
    Measure("fov_cut", "Template outside field of view", 1, ("max_fov_cut",)),
    Measure("border", "Mask on outer faces", 1, ("max_border",)),
)


def judge(measures: Mapping[str, float], bounds: Mapping[str, float | None]) -> str | None:
    """A sentence on the first measure outside its bounds; None if all are inside.

    A bound that is None is off, and so is the bound of a measure that was not taken.

    Args:
        measures: Measures of a scan by key.
        bounds: config["preprocess"]["qc"].
    """
    for measure in (measure for measure in MEASURES if measure.key in measures):
        value = measures[measure.key]
        for key in measure.bounds:
            bound = bounds[key]
            low = key.startswith("min")
            if bound is not None and (value < bound if low else value > bound):
                side = "below" if low else "above"
                return f"QC: {measure.key} {value:.4g} is {side} {key} {bound:.4g}"
    return None


def outlyingness(table: pd.DataFrame) -> pd.DataFrame:
    """Distance of each scan from the cohort's median, in robust standard deviations.

    z = (value - median) / (1.4826 MAD), positive in the direction of bad values. A measure that
    hardly varies (MAD 0, such as a field of view that cuts few heads) is scaled by its mean
    absolute deviation instead (Iglewicz and Hoaglin 1993). A constant measure has z = 0.

    Args:
        table: One row per scan, columns the keys of ``MEASURES``; a missing value has z = 0.

    Returns:
        Columns worst (key of the measure with the largest z) and z, on the index of ``table``.
    """
    scores = {}
    for measure in MEASURES:
        values = table[measure.key].to_numpy(dtype=float)
        off = values - np.nanmedian(values) if np.isfinite(values).any() else values
        spread = MAD_TO_SD * np.nanmedian(np.abs(off)) if np.isfinite(off).any() else 0.0
        spread = spread or 1.2533 * float(np.nan_to_num(np.abs(off)).mean())
        signed = np.abs(off) if measure.worse == 0 else measure.worse * off
        scores[measure.key] = np.nan_to_num(signed / spread) if spread else np.zeros(len(values))
    z = pd.DataFrame(scores, index=table.index)
    return pd.DataFrame({"worst": z.idxmax(axis=1), "z": z.max(axis=1)}, index=table.index)
