"""Claims on manipulated scans: their changes, true counterfactuals, and the truth that probes find.

They are judged after y_sem was moved along the plain AD direction, at one strength α.
"""

import pandas as pd

from ldae.evaluation.manipulation_tables import monotonicity_sentence
from ldae.labels import interval
from ldae.report.proof_thresholds import RANK_CORRELATION, RIVALS
from ldae.report.tables.table import row_of
from ldae.report.verdicts import Claim, Criterion, claim_of
from ldae.systems import phrase

# Metric; what was measured; the claim, with its words for a move towards AD and away from it (no
# claim text: a common one); sign of the change towards AD.
CHANGES = (
    (
        "change_ventricle_ml",
        "fluid in the ventricles' region, ml",
        "makes the ventricles {}",
        ("larger", "smaller"),
        1,
    ),
    (
        "change_hippocampus_ml",
        "grey matter in the hippocampi's region, ml",
        "makes the hippocampi {}",
        ("smaller", "larger"),
        -1,
    ),
    ("change_logit_decoded", "AD logit of the decoded image", "", ("", ""), 1),
)
# Measure of single scans whose order over α the proof judges: words of the claim.
FOLLOWING = {"ventricle_ml": "Ventricles", "hippocampus_ml": "Hippocampi"}
# Reference of the distance to the true counterfactual: words in a claim, words in the summary.
COUNTERFACTUAL = {
    "none": ("leaving it", "the unchanged scan"),
    "random": ("moving it as far at random", "a random move of the same length"),
}


def nearest_strength(table: pd.DataFrame, wanted: float) -> float:
    """The alpha of the table that is nearest to ``wanted``, never 0."""
    alphas = table.loc[table["alpha"] != 0, "alpha"].dropna().unique()
    return min(alphas, key=lambda one: (abs(one - wanted), one))


def manipulation_claims(
    table: pd.DataFrame,
    trends: pd.DataFrame | None,
    counterfactual: pd.DataFrame | None,
    wanted: float,
) -> list[Claim]:
    """Claims on decoded images after y_sem was moved along the plain AD direction.

    Args:
        table: ``manipulation.tsv``.
        trends: ``manipulation_trends.tsv``; None: not made.
        counterfactual: ``counterfactual_differences.tsv``; None: the truth is not known.
        wanted: Strength at which they are judged; the nearest one of the table is taken.
    """
    found = _changes(table, wanted)
    if trends is not None:
        found += _following(trends)
    if counterfactual is not None:
        found += _nearness(counterfactual, wanted)
    return found


def _changes(table: pd.DataFrame, wanted: float) -> list[Claim]:
    table = table[(table["way"] == "plain") & (table["alpha"] != 0)]
    alpha, last = nearest_strength(table, wanted), table["alpha"].max()
    found = []
    for direction, part in table.groupby("direction", sort=False):
        towards = direction.endswith("AD")
        arrow = _arrow(direction)
        for name, what, says, words, sign in CHANGES:
            move = f"Manipulation {arrow}"
            text = (
                f"{move} {says.format(words[not towards])}"
                if says
                else f"Decoded images show the change asked for, {arrow}"
            )
            mine = part[part["metric"] == name]
            end = row_of(mine, alpha=last)
            measure = f"{what}, α = {alpha:g} less α = 0"
            if alpha != last and end is not None:
                ends = interval(end["value"], end["ci_low"], end["ci_high"], 2)
                measure += f" (at the largest, {last:g}: {ends})"
            measure += f". {monotonicity_sentence(mine)}" if len(mine) else ""
            leads = (towards, name) == (True, "change_ventricle_ml")
            found += claim_of(
                "manipulation",
                "manipulation",
                text,
                measure,
                row_of(mine, alpha=alpha),
                Criterion(above=towards == (sign > 0)),
                "value",
                2,
                brief=f"by {{found}} ml at α = {alpha:g}" if leads else "",
                opposite=f"{move} {says.format(words[towards])}" if leads else "",
            )
    return found


def _arrow(direction: str) -> str:
    return direction.replace(" to ", " → ")


def _following(trends: pd.DataFrame) -> list[Claim]:
    """Claims that a volume changes with every step of α, as the proof asks."""
    plain = trends[(trends["way"] == "plain") & (trends["statistic"] == "spearman")]
    found = []
    for direction in plain["direction"].drop_duplicates():
        for measure, words in FOLLOWING.items():
            found += claim_of(
                "manipulation",
                "manipulation_trends",
                f"{words} change the expected way with every step of α, {_arrow(direction)}",
                "rank correlation of the volume with α in the expected sense, mean over scans",
                row_of(plain, direction=direction, measure=measure),
                Criterion(RANK_CORRELATION),
                "value",
                2,
            )
    return found


def _nearness(table: pd.DataFrame, wanted: float) -> list[Claim]:
    """Claims that moved scans are nearer to their true counterfactual than two baselines."""
    table = table[(table["method"] == "plain") & (table["region"] == "brain")]
    table = table[table["metric"] == "mse_to_ae"]
    if table.empty:
        return []
    alpha = nearest_strength(table, wanted)
    found = []
    for direction, part in table.groupby("direction", sort=False):
        for reference, (words, in_summary) in COUNTERFACTUAL.items():
            found += claim_of(
                "manipulation",
                "counterfactual_differences",
                f"A scan moved {_arrow(direction)} is nearer to its true counterfactual than by "
                f"{words}",
                "MSE in the brain to the AE reconstruction of the true counterfactual, moved less "
                f"{words}, α = {alpha:g}",
                row_of(part[part["alpha"] == alpha], reference=reference),
                Criterion(above=False),
                digits=4,
                rival=in_summary if direction.endswith("AD") else "",
            )
    return found


def truth_claims(table: pd.DataFrame) -> list[Claim]:
    """Claims on what y_sem knows of the atrophy that was put into synthetic brains.

    Args:
        table: ``truth.tsv``.
    """
    mine = table[(table["prediction"] == "atrophy_probe") & (table["truth"] == "atrophy")]
    found = claim_of(
        "truth",
        "truth",
        "y_sem knows the atrophy put into the synthetic brains",
        "correlation of the atrophy probe with the truth",
        row_of(mine, system="ldae", reference=None),
        Criterion(),
        "r",
        2,
    )
    for rival in RIVALS:
        found += claim_of(
            "truth",
            "truth",
            f"It knows more of it than {phrase(rival)}",
            f"difference of these correlations, LDAE less {phrase(rival)}",
            row_of(mine, system="ldae", reference=rival),
            Criterion(),
            "r",
            2,
        )
    return found
