"""Fit of the centile curves: quantile regressions on B-splines of age.

Quantile regression (Koenker and Bassett, Econometrica 1978) as scikit-learn solves it, without a
penalty. Each person counts once, however many scans they have.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.evaluation.normative.curves import SEXES, NormativeCurves, basis
from ldae.evaluation.normative.measures import MEASURES
from ldae.labels import listing

OUTER = 0.025  # share of the people's ages beyond either end of the range of the curves
DIGITS = 4  # significant ones of the coefficients
GRID = 21  # ages at which the spread of fitted centiles is checked


def require_centiles(centiles: Sequence[float]) -> tuple[float, ...]:
    """The centiles, ascending.

    Raises:
        UserError: one is named twice, or none lies below or above 50.
    """
    found = tuple(sorted(float(one) for one in centiles))
    require(
        len(set(found)) == len(found) and found[0] < 50 < found[-1],
        f"evaluation.normative.centiles {list(centiles)}: name each once, and at least one below "
        "and one above 50.",
    )
    return found


def fit_curves(
    scans: pd.DataFrame,
    measures: Sequence[str],
    reference: str,
    settings: Mapping[str, Any],
    probes: Mapping[str, str],
) -> NormativeCurves:
    """Fit all centiles of all measures.

    Args:
        scans: participant_id, age (years), sex (``F``, ``M``) and the measures of the scans to fit.
        measures: Names of columns.
        reference: The people's diagnosis.
        settings: Section ``evaluation.normative``: ``centiles``, ``knots`` (their number),
            ``degree``, ``min_subjects`` (of each sex).
        probes: SHA-256 of the files of the probes, by name.

    Returns:
        The curves. With too few people of a sex there are none, and the note says so; a measure
        whose centiles fall together has none either.
    """
    centiles, degree = require_centiles(settings["centiles"]), settings["degree"]
    counts = _counts(scans)
    few = [sex for sex in SEXES if counts[sex] < settings["min_subjects"]]
    if few:
        note = (
            f"too few {reference} people in the training split: "
            + listing([f"{counts[sex]} {name}" for sex, name in SEXES.items()])
            + f"; {settings['min_subjects']} of each are needed (evaluation.normative.min_subjects)"
        )
        return NormativeCurves(reference, centiles, degree, (), {}, counts, dict(probes), note)
    people = scans.groupby("participant_id")["age"].mean()
    ends = people.quantile([OUTER, 1 - OUTER])
    low, high = np.ceil(ends.iloc[0]), np.floor(ends.iloc[1])
    if high - low < settings["knots"] - 1:
        note = f"the ages of the {reference} people span {max(high - low, 0):g} years, too few"
        return NormativeCurves(reference, centiles, degree, (), {}, counts, dict(probes), note)
    used = scans[scans["age"].between(low, high)]
    knots = _knots(people, low, high, settings["knots"])
    design = basis(used["age"].to_numpy(), knots, degree, used["sex"])
    weights = 1 / used.groupby("participant_id")["age"].transform("size").to_numpy()
    fitted = {
        name: _coefficients(design, used[name].to_numpy(), weights, centiles) for name in measures
    }
    counts = _counts(used)
    curves = NormativeCurves(reference, centiles, degree, knots, fitted, counts, dict(probes))
    flat = [name for name in measures if not _has_spread(curves, name)]
    kept = {name: rows for name, rows in fitted.items() if name not in flat}
    labels = [MEASURES[name].label.lower() for name in flat]
    note = f"no spread of {listing(labels)} among the {reference} people" if flat else ""
    return NormativeCurves(reference, centiles, degree, knots, kept, counts, dict(probes), note)


def _counts(scans: pd.DataFrame) -> dict[str, int]:
    """Numbers of people, of scans, and of people by sex."""
    by_sex = scans.groupby("sex")["participant_id"].nunique()
    people = {sex: int(by_sex.get(sex, 0)) for sex in SEXES}
    return {"subjects": scans["participant_id"].nunique(), "scans": len(scans), **people}


def _knots(ages: pd.Series, low: float, high: float, number: int) -> tuple[float, ...]:
    """Whole years: both ends, and between them the quantiles of people's ages, each once."""
    between = np.round(ages.quantile(np.linspace(0, 1, number)[1:-1]))
    return tuple(float(one) for one in np.unique([low, *between.clip(low, high), high]))


def _coefficients(
    design: np.ndarray, values: np.ndarray, weights: np.ndarray, centiles: Sequence[float]
) -> np.ndarray:
    """Coefficients (C, K + 1) of the centiles of ``values`` (N,)."""
    from sklearn.linear_model import QuantileRegressor  # its import takes a second

    centre, scale = np.median(values), values.std() or 1.0
    rows = []
    for centile in centiles:
        model = QuantileRegressor(
            quantile=centile / 100, alpha=0.0, fit_intercept=False, solver="highs"
        )
        model.fit(design, (values - centre) / scale, sample_weight=weights)
        row = scale * model.coef_
        row[:-1] += centre  # the splines add up to 1 at every age
        rows.append(row)
    # A curve goes through values of single people: rounded, it tells none of them exactly.
    return np.array([[float(f"{one:.{DIGITS}g}") for one in row] for row in rows])


def _has_spread(curves: NormativeCurves, name: str) -> bool:
    """Whether the outermost centiles lie apart at every age, for both sexes."""
    ages = np.linspace(*curves.ages, GRID)
    levels = np.concatenate([curves.at(name, ages, [sex] * GRID) for sex in SEXES])
    return bool((levels[:, -1] > levels[:, 0]).all())
