"""Verdicts: a claim with its number, its interval, its criterion, and whether it is shown.

The verdict depends on the 95 % interval over resampled subjects. A claim is shown when the whole
interval lies on the claimed side of the bound. It is refuted when the interval lies wholly on the
other side. Anything between is not shown at this size. A bound of image quality is set for the
paper's grid; a run on a coarser one that misses it has not refuted the claim, so that the claim is
not shown at this size.
"""

import math
from dataclasses import dataclass

import pandas as pd

from ldae.labels import interval, number

SHOWN, OPEN, OPPOSITE = "shown", "not shown at this size", "refuted"
# What is asked of a run, in the order of the report. Every claim belongs to one of them.
QUESTIONS = {
    "reconstruction": "Reconstruction",
    "diagnosis": "Diagnosis",
    "age": "Age",
    "manipulation": "Manipulation",
    "visits": "Missing visits",
    "saliency": "Saliency",
    "truth": "Known truth",
    "external": "External test sets",
}
# Those without a sentence in the report's first screen: checks of how the others are answered.
WITHOUT_SENTENCE = ("saliency",)


@dataclass(frozen=True)
class Claim:
    """One claim on a run.

    Attributes:
        question: Key of ``QUESTIONS``.
        text: What is claimed.
        measure: What was measured.
        found: Estimate and interval.
        paper: The paper's value, or a dash.
        criterion: When the claim counts as shown.
        verdict: ``shown``, ``not shown at this size`` or ``refuted``.
        size: Numbers of scans or triplets, and of subjects.
        subjects: Number of subjects; 0: not known.
        table: Name of the table that decides it.
        brief: Estimate and interval in few words, of the claim that leads its question's sentence
            in the summary; else empty.
        opposite: What is seen if the opposite is; only of a claim with ``brief``.
        rival: What is compared with, and its estimate (``tissue volumes 0.760``), of a comparison
            that the sentence of its question lists; else empty.
        aside: A whole clause that the sentence of its question adds; else empty.
        disputed: Whether a second measure of the same claim says the opposite.
    """

    question: str
    text: str
    measure: str
    found: str
    paper: str
    criterion: str
    verdict: str
    size: str
    subjects: int
    table: str
    brief: str = ""
    opposite: str = ""
    rival: str = ""
    aside: str = ""
    disputed: bool = False


@dataclass(frozen=True)
class Criterion:
    """When a claim counts as shown: the whole interval lies above ``bound``, or else below it.

    Attributes:
        bound: The bound.
        above: Whether the quantity is claimed to lie above the bound.
        of_size: Whether a smaller run can miss the bound without refuting the claim.
    """

    bound: float = 0.0
    above: bool = True
    of_size: bool = False

    def __str__(self) -> str:
        digits = 0 if self.bound == 0 else 2
        return f"{'>' if self.above else '<'} {number(self.bound, digits)}"

    def verdict(self, low: float, high: float) -> str:
        """Verdict on an interval; without a finite interval nothing is shown."""
        found = verdict(low, high, self.bound, self.above)
        return OPEN if found == OPPOSITE and self.of_size else found


def verdict(low: float, high: float, bound: float, above: bool) -> str:
    """Verdict on an interval; without a finite interval nothing is shown.

    Args:
        low, high: The interval.
        bound, above: The claim: the quantity lies above, or else below, ``bound``.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return OPEN
    if not above:
        low, high, bound = -high, -low, -bound
    if low > bound:
        return SHOWN
    return OPPOSITE if high < bound else OPEN


def claim_of(
    question: str,
    table: str,
    text: str,
    measure: str,
    row: pd.Series | None,
    criterion: Criterion,
    column: str = "difference",
    digits: int = 3,
    paper: float = math.nan,
    brief: str = "",
    opposite: str = "",
    rival: str = "",
    aside: str = "",
    disputed: bool = False,
) -> list[Claim]:
    """The claim that a row of a table decides, as a list of one; empty without a row.

    Args:
        question: Key of ``QUESTIONS``.
        table: Name of the table.
        text, measure: What is claimed, what was measured.
        row: ci_low, ci_high, the estimate in ``column``, and any of n_scans, n_triplets,
            n_subjects.
        criterion: When the claim counts as shown.
        column: Of the estimate.
        digits: Decimals.
        paper: The paper's value; nan: none.
        brief, aside: As for :class:`Claim`, with ``{found}`` in place of estimate and interval and
            ``{asked}`` in place of the criterion.
        opposite, rival, disputed: As for :class:`Claim`.
    """
    if row is None:
        return []
    low, high = float(row["ci_low"]), float(row["ci_high"])
    size = ", ".join(
        f"{int(row[name]):,} {name[2:]}"
        for name in ("n_scans", "n_triplets", "n_subjects")
        if name in row.index and pd.notna(row[name])
    )
    words = {"found": interval(float(row[column]), low, high, digits), "asked": str(criterion)}
    return [
        Claim(
            question,
            text,
            measure,
            words["found"],
            number(paper),
            words["asked"],
            criterion.verdict(low, high),
            size,
            int(row["n_subjects"]) if pd.notna(row.get("n_subjects")) else 0,
            table,
            brief.format(**words),
            opposite,
            rival,
            aside.format(**words),
            disputed,
        )
    ]
