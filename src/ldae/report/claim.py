"""One claim: a number with its interval, a criterion, and the verdict."""

import math
from dataclasses import dataclass

import pandas as pd

from ldae.labels import interval, number

SHOWN, OPEN, OPPOSITE = "shown", "not shown at this size", "the opposite is seen"


@dataclass(frozen=True)
class Claim:
    """One line of the summary.

    Attributes:
        text: What is claimed.
        measure: What was measured.
        found: Estimate and interval.
        paper: The paper's value, or a dash.
        criterion: When the claim counts as shown.
        verdict: ``shown``, ``not shown at this size`` or ``the opposite is seen``.
        size: Scans and subjects behind the number.
    """

    text: str
    measure: str
    found: str
    paper: str
    criterion: str
    verdict: str
    size: str


def verdict(low: float, high: float, bound: float, above: bool) -> str:
    """Where the interval lies with respect to the bound; without an interval nothing is shown."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return OPEN
    if not above:
        low, high, bound = -high, -low, -bound
    if low > bound:
        return SHOWN
    return OPPOSITE if high < bound else OPEN


def row_of(table: pd.DataFrame, **where) -> pd.Series | None:
    """The first row whose columns have these values (None: missing), or None."""
    keep = pd.Series(True, index=table.index)
    for column, value in where.items():
        keep &= table[column].isna() if value is None else table[column].astype(str) == str(value)
    return table[keep].iloc[0] if keep.any() else None


def claim_of(
    text: str,
    measure: str,
    row: pd.Series | None,
    bound: float,
    above: bool,
    column: str = "difference",
    digits: int = 3,
    paper: float = math.nan,
) -> list[Claim]:
    """The claim that a row of a table speaks of, judged; none where there is no such row.

    Args:
        text, measure: What is claimed, what was measured.
        row: Estimate, ci_low, ci_high and sizes.
        bound, above: The criterion: above or below which value the whole interval has to lie.
        column: Of the estimate.
        digits: Of the numbers.
        paper: The paper's value.
    """
    if row is None:
        return []
    low, high = float(row["ci_low"]), float(row["ci_high"])
    limit = "0" if bound == 0 else number(bound, 2)
    size = ", ".join(
        f"{int(row[name]):,} {name[2:]}"
        for name in ("n_scans", "n_triplets", "n_subjects")
        if name in row.index and pd.notna(row[name])
    )
    return [
        Claim(
            text,
            measure,
            interval(float(row[column]), low, high, digits),
            number(paper),
            f"{'>' if above else '<'} {limit}",
            verdict(low, high, bound, above),
            size,
        )
    ]
