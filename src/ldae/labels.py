"""Text of numbers, intervals, counts, lists, subjects and visits in figures and the report."""

import math
import re

ABSENT = "–"
MOST_DECIMALS = 6  # of a small number; smaller ones have an exponent


def number(value: float, digits: int = 3) -> str:
    """A number with ``digits`` decimals, more where they would all be zero: 0.0004, not 0.000."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ABSENT
    value = value or 0.0  # no negative zero
    if value and abs(value) < 0.5 * 10**-digits:
        digits = 1 - math.floor(math.log10(abs(value)))  # two significant digits, or one
        small = digits > MOST_DECIMALS + 1
        text = f"{value:.2g}" if small else f"{value:.{min(digits, MOST_DECIMALS)}f}".rstrip("0")
        return text.replace("-", "−")
    return f"{value:.{digits}f}".replace("-", "−")


def interval(estimate: float, low: float, high: float, digits: int = 3) -> str:
    """``estimate [low, high]``; the estimate alone where there is no interval.

    An interval that would span fewer than ten units of the last decimal gets more of them:
    −0.00023 [−0.00037, −0.00008], not −0.000 [−0.000, −0.000]. The estimate gets no more than that,
    a limit does, so that its side of 0 is seen: 0.00 [−0.30, −0.0002].
    """
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in (low, high)):
        return number(estimate, digits)
    if high > low:
        needed = math.ceil(1 - math.log10(high - low))
        digits = max(digits, min(needed, MOST_DECIMALS))
        estimate = round(estimate, digits)
    return f"{number(estimate, digits)} [{number(low, digits)}, {number(high, digits)}]"


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """``1 scan``, ``1,200 scans``."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def ordinal(value: float) -> str:
    """``1st``, ``22nd``, ``11th``, ``2.5th``."""
    text = f"{value:g}"
    if "." in text or text[-2:] in ("11", "12", "13"):
        return f"{text}th"
    return text + {"1": "st", "2": "nd", "3": "rd"}.get(text[-1], "th")


def listing(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = [str(word) for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def subject(scan_id: str) -> str:
    """The participant of a scan: ``sub-ADNI002S0413`` of ``sub-ADNI002S0413_ses-M000``."""
    return re.split(r"_ses-", str(scan_id))[0]
