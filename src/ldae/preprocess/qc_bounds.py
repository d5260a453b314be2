"""QC bounds: names and bounds of the quality measures, outlyingness of a scan in the cohort."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ldae.config import MRIQC
from ldae.derivatives import ScanFiles
from ldae.files import read_json

MAD_TO_SD = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class Measure:
    """A quality measure of one scan.

    Attributes:
        key: Its key in ``*_desc-qc.json``.
        label: Its name, with the unit.
        worse: Direction of bad values: -1 low, 1 high, 0 both (too little noise: a blurred scan).
        bounds: Keys of config["preprocess"]["qc"] that bound it. They begin with ``min`` or
            ``max``; those of MRIQC's measures have its name, and the lowest and highest value.
        ranked: Whether it counts in :func:`outlyingness`, which orders the QC page.
    """

    key: str
    label: str
    worse: int
    bounds: tuple[str, ...] = ()
    ranked: bool = True


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
    # A hint at swapped sides that errs too often to rank scans by it
    Measure(
        "asymmetry", "Asymmetry (below 0: sides swapped?)", -1, ("min_asymmetry",), ranked=False
    ),
)


# MRIQC's measures that are shown without a bound as well, with the direction of bad values
# (``Measure.worse``, Esteban et al. 2017)
MRIQC_SHOWN = {
    "cjv": 1, "cnr": -1, "efc": 1, "fber": -1, "fwhm_avg": 1, "inu_med": 0, "qi_1": 1,
    "snr_total": -1, "wm2max": 0,
}  # fmt: skip


def shown_measures(taken: Iterable[str], bounds: Mapping[str, Any]) -> tuple[Measure, ...]:
    """``MEASURES``, then those of MRIQC that have a bound or are in ``MRIQC_SHOWN``.

    Args:
        taken: Columns of the QC table.
        bounds: config["preprocess"]["qc"].
    """
    others = [key for key in taken if key.startswith(MRIQC)]
    return MEASURES + tuple(
        Measure(
            key,
            f"MRIQC: {name}",
            MRIQC_SHOWN.get(name, 0),
            (key,) if key in bounds else (),
            ranked=False,
        )
        for key, name in ((key, key.removeprefix(MRIQC)) for key in others)
        if key in bounds or name in MRIQC_SHOWN
    )


def limits(measure: Measure, bounds: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Lowest and highest value of a measure that the bounds allow; None where there is no bound."""
    low = high = None
    for key in measure.bounds:
        if key.startswith(MRIQC):
            low, high = bounds.get(key) or (None, None)
        elif key.startswith("min"):
            low = bounds.get(key)
        else:
            high = bounds.get(key)
    return low, high


def judge(measures: Mapping[str, float], bounds: Mapping[str, Any]) -> str | None:
    """A sentence on the first measure outside its bounds; None if all are inside.

    A bound that is None or absent (of models trained before it) is off, and so is the bound of a
    measure that was not taken.

    Args:
        measures: Measures of a scan by key, those of MRIQC among them; NaN: not taken.
        bounds: config["preprocess"]["qc"].
    """
    for measure in (measure for measure in MEASURES if measure.key in measures):
        value = measures[measure.key]
        for key in measure.bounds:
            bound = bounds.get(key)
            low = key.startswith("min")
            if bound is not None and (value < bound if low else value > bound):
                side = "below" if low else "above"
                return f"QC: {measure.key} {value:.4g} is {side} {key} {bound:.4g}"
    for key in (key for key in bounds if key.startswith(MRIQC) and key in measures):
        value, (lowest, highest) = measures[key], bounds[key]
        if lowest is not None and value < lowest:
            return f"QC: {key} {value:.4g} is below its lowest {lowest:.4g}"
        if highest is not None and value > highest:
            return f"QC: {key} {value:.4g} is above its highest {highest:.4g}"
    return None


def judge_of(
    mriqc: pd.DataFrame | None, bounds: Mapping[str, Any]
) -> Callable[[ScanFiles], str | None]:
    """:func:`judge` of a scan's own measures and those of MRIQC.

    Args:
        mriqc: MRIQC's measures (scan_id, ``mriqc_*``); None: there are none.
        bounds: config["preprocess"]["qc"].
    """
    measured = {} if mriqc is None else mriqc.set_index("scan_id").to_dict("index")
    return lambda files: judge(read_json(files.measures) | measured.get(files.scan_id, {}), bounds)


def outlyingness(table: pd.DataFrame) -> pd.DataFrame:
    """Distance of each scan from the cohort's median, in robust standard deviations.

    z = (value - median) / (1.4826 MAD), positive in the direction of bad values. A measure that
    hardly varies (MAD 0, such as a field of view that cuts few heads) is scaled by its mean
    absolute deviation instead (Iglewicz and Hoaglin 1993). A constant measure has z = 0.

    Args:
        table: One row per scan, columns the keys of the ranked ``MEASURES``; a missing value has
            z = 0.

    Returns:
        Columns worst (key of the measure with the largest z) and z, on the index of ``table``.
    """
    scores = {}
    for measure in (measure for measure in MEASURES if measure.ranked):
        values = table[measure.key].to_numpy(dtype=float)
        off = values - np.nanmedian(values) if np.isfinite(values).any() else values
        spread = MAD_TO_SD * np.nanmedian(np.abs(off)) if np.isfinite(off).any() else 0.0
        spread = spread or 1.2533 * float(np.nan_to_num(np.abs(off)).mean())
        signed = np.abs(off) if measure.worse == 0 else measure.worse * off
        scores[measure.key] = np.nan_to_num(signed / spread) if spread else np.zeros(len(values))
    z = pd.DataFrame(scores, index=table.index)
    return pd.DataFrame({"worst": z.idxmax(axis=1), "z": z.max(axis=1)}, index=table.index)
