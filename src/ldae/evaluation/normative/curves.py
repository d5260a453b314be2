"""Centile curves of measures along age, by sex, and where a value lies among them.

A centile is a B-spline of age plus a shift for men. The file holds knots, coefficients and
counts, no row of a person; its ages are whole years, within which the curves hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from ldae.errors import UserError, require
from ldae.files import read_json, write_json

FILE = "normative.json"  # beside the probes of the application's bundle
VERSION = 1
FEMALE, MALE = "F", "M"
SEXES = {FEMALE: "female", MALE: "male"}
NOTICE = (
    "For research: percentiles among the people of one study, by its scanners and this "
    "preprocessing. Not a clinical reference, and no finding about a person."
)


def sex_of(text: Any, where: str) -> str:
    """``F`` or ``M`` of a word for a sex: F, M, female, male, in either case.

    Args:
        text: The word.
        where: Where it stands, for the message.

    Raises:
        UserError: it is none of them.
    """
    word = str(text).strip().lower()
    for letter, name in SEXES.items():
        if word in (letter.lower(), name):
            return letter
    raise UserError(
        f"{where}: the sex {text!r} is not known. Write F or M; the curves are by these two."
    )


def age_of(value: Any, where: str) -> float:
    """Years of a number or its text.

    Args:
        value: The number.
        where: Where it stands, for the message.

    Raises:
        UserError: it is no number of years.
    """
    try:
        years = float(value)
    except (TypeError, ValueError):
        years = float("nan")
    require(
        0 < years < 130,
        f"{where}: the age {value!r} is no number of years. Write it like 74 or 74.5.",
    )
    return years


@dataclass(frozen=True)
class NormativeCurves:
    """Centile curves of all measures.

    Attributes:
        reference: The diagnosis of the people that they were fitted on.
        centiles: Fitted centiles, ascending, below and above 50; C of them.
        degree: Of the B-splines; 1: straight lines between the knots.
        knots: Ages, years: both ends of the range in which the curves hold, and what lies between.
        coefficients: Measure to (C, K + 1): of the K B-splines of each centile, and the shift of
            men; in the measure's unit.
        counts: ``subjects``, ``scans``, and ``F``, ``M``: subjects by sex.
        probes: SHA-256 of the files of the probes that read y_sem, by name.
        note: Why there are no curves, or fewer; else empty.
    """

    reference: str
    centiles: tuple[float, ...]
    degree: int
    knots: tuple[float, ...]
    coefficients: Mapping[str, np.ndarray]
    counts: Mapping[str, int]
    probes: Mapping[str, str]
    note: str = ""

    @property
    def ages(self) -> tuple[float, float]:
        """First and last year of the range in which the curves hold."""
        return self.knots[0], self.knots[-1]

    def covers(self, ages: Sequence[float]) -> np.ndarray:
        """Mask (N,) of the ages within the range."""
        years = np.asarray(ages, dtype=float)
        return (years >= self.ages[0]) & (years <= self.ages[1]) if self.knots else years > np.inf

    def at(self, measure: str, ages: Sequence[float], sexes: Sequence[str]) -> np.ndarray:
        """Centiles (N, C) of a measure at N ages, ascending along the last axis.

        Curves that were fitted one by one may cross: their values at an age are sorted, which
        brings no curve farther from the true one (Chernozhukov et al., Econometrica 2010).

        Args:
            measure: A key of :attr:`coefficients`.
            ages: Years (N,).
            sexes: ``F`` or ``M`` of each.

        Raises:
            UserError: an age lies outside the range.
        """
        years = np.asarray(ages, dtype=float)
        low, high = self.ages
        require(
            bool(self.covers(years).all()),
            f"The normative curves hold from {low:g} to {high:g} years; outside nothing is known.",
        )
        design = basis(years, self.knots, self.degree, sexes)
        return np.sort(design @ self.coefficients[measure].T, axis=1)

    def deviations(
        self, measure: str, values: Sequence[float], ages: Sequence[float], sexes: Sequence[str]
    ) -> np.ndarray:
        """Deviations z (N,) of values: normal quantiles of where they lie among the centiles.

        Between two centiles z is linear in the value. Beyond the outermost ones it goes on with
        the spread between the median and the outermost centile of that side, as in a normal
        distribution; where these two meet, with the spread between both outermost ones. It is nan
        outside the range of ages.

        Args:
            measure: A key of :attr:`coefficients`.
            values: Of the measure (N,).
            ages, sexes: As in :meth:`at`.
        """
        values, ages = np.asarray(values, dtype=float), np.asarray(ages, dtype=float)
        inside = self.covers(ages)
        found = np.full(len(values), np.nan)
        if not inside.any():
            return found
        marks = ndtri(np.array(self.centiles) / 100)
        curves = self.at(measure, ages[inside], np.asarray(sexes)[inside])
        for row, value, levels in zip(np.flatnonzero(inside), values[inside], curves, strict=True):
            found[row] = _deviation(value, levels, marks)
        return found

    def percentiles(self, deviations: Sequence[float]) -> np.ndarray:
        """Percentiles (N,) of deviations, none beyond the outermost fitted centiles."""
        percent = 100 * ndtr(np.asarray(deviations, dtype=float))
        return np.clip(percent, self.centiles[0], self.centiles[-1])

    def save(self, path: str | Path) -> None:
        """Write the curves as JSON."""
        content = {
            "version": VERSION,
            "notice": NOTICE,
            "reference": self.reference,
            "centiles": list(self.centiles),
            "degree": self.degree,
            "knots": list(self.knots),
            "counts": dict(self.counts),
            "probes": dict(self.probes),
            "note": self.note,
            "coefficients": {name: rows.tolist() for name, rows in self.coefficients.items()},
        }
        write_json(content, path)

    @classmethod
    def load(cls, path: str | Path) -> "NormativeCurves":
        """Read a file of :meth:`save`.

        Raises:
            UserError: it does not exist, or was written by another version.
        """
        require(Path(path).is_file(), f"{path} does not exist: run the target `normative`.")
        content = read_json(path)
        require(
            content.get("version") == VERSION,
            f"{path} was written by another version: run the target `normative`.",
        )
        return cls(
            content["reference"],
            tuple(content["centiles"]),
            content["degree"],
            tuple(content["knots"]),
            {name: np.array(rows) for name, rows in content["coefficients"].items()},
            content["counts"],
            content["probes"],
            content["note"],
        )


def basis(
    ages: np.ndarray, knots: Sequence[float], degree: int, sexes: Sequence[str]
) -> np.ndarray:
    """Design (N, K + 1) of the centiles: B-splines of age, and 1 for men.

    Args:
        ages: Years (N,), none outside the knots.
        knots: Ascending.
        degree: Of the splines.
        sexes: ``F`` or ``M`` of each.
    """
    from scipy.interpolate import BSpline  # its import takes a quarter of a second

    padded = np.concatenate([[knots[0]] * degree, knots, [knots[-1]] * degree])
    splines = BSpline.design_matrix(ages, padded, degree).toarray()
    return np.column_stack([splines, np.asarray(sexes) == MALE]).astype(float)


def _deviation(value: float, levels: np.ndarray, marks: np.ndarray) -> float:
    """Deviation of one value: ``levels`` (C,) are the centiles, ``marks`` (C,) their z."""
    if levels[0] <= value <= levels[-1]:
        return float(np.interp(value, levels, marks))
    outer = 0 if value < levels[0] else -1
    spread = (levels[outer] - np.interp(0.0, marks, levels)) / marks[outer]
    if spread <= 0:  # the curve of this side has met the median's
        spread = (levels[-1] - levels[0]) / (marks[-1] - marks[0])
    return float(marks[outer] + (value - levels[outer]) / spread)
