"""Summary of a run: its most telling claims in plain sentences, and the tally of all verdicts.

It stands on the report's first screen, and at the end of ``make demo``.
"""

from ldae.labels import listing
from ldae.report.claims import OPEN, OPPOSITE, SHOWN, Claim


def tally(found: list[Claim]) -> str:
    """Number of claims with each verdict, as a sentence."""
    verdicts = [one.verdict for one in found]
    parts = [f"{verdicts.count(SHOWN)} of {len(found)} claims are shown"]
    parts.append(f"{verdicts.count(OPEN)} are not shown at this size")
    if OPPOSITE in verdicts:
        parts.append(f"for {verdicts.count(OPPOSITE)} the opposite is seen")
    return f"{listing(parts)}."


def sentences(found: list[Claim]) -> list[str]:
    """The claims of the summary in plain sentences, each with its verdict, and then the tally."""
    lines = []
    for claim in found:
        if not claim.brief:
            continue
        that = claim.text[0].lower() + claim.text[1:]
        says = {
            SHOWN: claim.text,
            OPEN: f"Not shown at this size that {that}",
            OPPOSITE: f"It is not so here that {that}",
        }[claim.verdict]
        asked = f", asked for: {claim.criterion}" if claim.verdict == OPPOSITE else ""
        lines.append(f"{says}: {claim.brief}{asked} ({claim.size}).")
    return [*lines, tally(found)]
