"""Claims about manipulated scans: what changes, and how near it comes to the known truth."""

import pandas as pd

from ldae.evaluation.manipulation_tables import course
from ldae.labels import interval
from ldae.report.claim import Claim, claim_of, row_of

# Metric, what was measured, what the claim says of a move towards AD and away from it; sign of AD.
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


def strength(table: pd.DataFrame, wanted: float) -> float:
    """The alpha of the table nearest to the one wanted, never 0."""
    alphas = table.loc[table["alpha"] != 0, "alpha"].dropna().unique()
    return min(alphas, key=lambda one: (abs(one - wanted), one))


def manipulation(table: pd.DataFrame, wanted: float) -> list[Claim]:
    """What moving y_sem plainly along the AD direction does to the decoded image.

    Args:
        table: ``manipulation.tsv``.
        wanted: Strength at which it is judged; the nearest one of the table.
    """
    table = table[(table["way"] == "plain") & (table["alpha"] != 0)]
    alpha, last = strength(table, wanted), table["alpha"].max()
    found = []
    for direction, part in table.groupby("direction", sort=False):
        towards = direction.endswith("AD")
        arrow = direction.replace(" to ", " → ")
        for name, what, says, words, sign in CHANGES:
            text = (
                f"Manipulation {arrow} {says.format(words[not towards])}"
                if says
                else f"Decoded images show the change asked for, {arrow}"
            )
            mine = part[part["metric"] == name]
            end = row_of(mine, alpha=last)
            measure = f"{what}, α = {alpha:g} less α = 0"
            if alpha != last and end is not None:
                ends = interval(end["value"], end["ci_low"], end["ci_high"], 2)
                measure += f" (at the largest, {last:g}: {ends})"
            measure += f". {course(mine)}" if len(mine) else ""
            row = row_of(mine, alpha=alpha)
            found += claim_of(text, measure, row, 0, towards == (sign > 0), "value", 2)
    return found


def counterfactual(table: pd.DataFrame, wanted: float) -> list[Claim]:
    """Whether manipulated scans come nearer to the true counterfactual than two cheap answers.

    Args:
        table: ``counterfactual_differences.tsv``.
        wanted: Strength at which it is judged; the nearest one of the table.
    """
    table = table[(table["method"] == "plain") & (table["region"] == "brain")]
    table = table[table["metric"] == "mse_to_ae"]
    if table.empty:
        return []
    alpha = strength(table, wanted)
    found = []
    for direction, part in table.groupby("direction", sort=False):
        arrow = direction.replace(" to ", " → ")
        for reference, words in (("none", "leaving it"), ("random", "moving it as far at random")):
            found += claim_of(
                f"A scan moved {arrow} is nearer to its true counterfactual than by {words}",
                "MSE in the brain to the AE reconstruction of the true counterfactual, moved less "
                f"{words}, α = {alpha:g}",
                row_of(part[part["alpha"] == alpha], reference=reference),
                0,
                False,
                digits=4,
            )
    return found
