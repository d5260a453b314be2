"""Summary of a run: one plain sentence a question, made from the claims, and the tally of verdicts.

It stands on the report's first screen, and at the end of ``make demo``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ldae.labels import listing
from ldae.report.verdicts import OPEN, OPPOSITE, QUESTIONS, SHOWN, WITHOUT_SENTENCE, Claim
from ldae.systems import lower_first

# Words before what is compared with, by verdict: of one question, and of all others.
COMPARISONS = {
    "manipulation": {
        SHOWN: "nearer to the true counterfactual than",
        OPEN: "not shown nearer to the true counterfactual than",
        OPPOSITE: "farther from the true counterfactual than",
    },
}
BETTER = {SHOWN: "better than", OPEN: "not shown better than", OPPOSITE: "worse than"}


@dataclass(frozen=True)
class Sentence:
    """One sentence of the summary.

    Attributes:
        question: Key of :data:`ldae.report.verdicts.QUESTIONS`.
        text: The sentence, which says its verdict.
        verdict: Of the claim that it says first.
        table: Name of the table that decides that claim.
        shown, claims: Number of the question's claims that are shown, and of all.
    """

    question: str
    text: str
    verdict: str
    table: str
    shown: int
    claims: int


def tally(found: Sequence[Claim]) -> str:
    """Number of claims with each verdict, as a sentence."""
    verdicts = [one.verdict for one in found]
    parts = [f"{verdicts.count(SHOWN)} of {len(found)} claims are shown"]
    parts.append(f"{verdicts.count(OPEN)} are not shown at this size")
    if OPPOSITE in verdicts:
        number = verdicts.count(OPPOSITE)
        parts.append(f"{number} {'is' if number == 1 else 'are'} refuted")
    return f"{listing(parts)}."


def sentences(found: Sequence[Claim]) -> list[Sentence]:
    """A sentence for each question with a leading claim, in the order of the questions.

    Questions of :data:`ldae.report.verdicts.WITHOUT_SENTENCE` have none.

    It says the leading claim with its number, then which comparisons of the same question come
    out better, which are open and which come out worse, then the question's further clauses.
    """
    lines = []
    for question in (key for key in QUESTIONS if key not in WITHOUT_SENTENCE):
        mine = [one for one in found if one.question == question]
        for lead in (one for one in mine if one.brief):
            clauses = [f"{_said(lead)}: {lead.brief}", *_compared(question, mine)]
            clauses += [one.aside for one in mine if one.aside]
            text = f"{'; '.join(clauses)} ({lead.size})."
            shown = sum(one.verdict == SHOWN for one in mine)
            verdict = OPEN if lead.disputed else lead.verdict
            lines.append(Sentence(question, text, verdict, lead.table, shown, len(mine)))
    return lines


def _said(claim: Claim) -> str:
    """A leading claim as far as it is shown."""
    if claim.disputed:
        return f"Two measures disagree on whether {lower_first(claim.text)}"
    if claim.verdict == OPEN:
        return f"Not shown at this size that {lower_first(claim.text)}"
    return claim.text if claim.verdict == SHOWN else claim.opposite


def _compared(question: str, claims: Sequence[Claim]) -> list[str]:
    """Clauses on what a question compares with, one for each verdict that occurs."""
    words = COMPARISONS.get(question, BETTER)
    rivals = {
        words[verdict]: [
            one.rival for one in claims if one.rival and one.verdict == verdict and not one.disputed
        ]
        for verdict in words
    }
    rivals["disputed against"] = [one.rival for one in claims if one.rival and one.disputed]
    return [f"{said} {listing(there)}" for said, there in rivals.items() if there]
