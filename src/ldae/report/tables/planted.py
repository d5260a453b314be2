"""Tables of planted truths: labels and sites of a known relation, and what was found of them."""

import pandas as pd

from ldae.labels import ABSENT, interval, number
from ldae.report.tables.table import Table
from ldae.systems import metric, system

OF_TARGETS = ("target", "noise", "null")
PARTS = {
    "site": "site told",
    "harmonised": "site told after ComBat",
    "diagnosis": "AUROC of AD/CN after ComBat less without site",
    "gain": "AUROC of AD/CN with the site's shift less without",
    "harmonised gain": "AUROC of AD/CN after ComBat less without site",
    "confounding": "Cramér's V of AD/CN with the site",
}


def planted(table: pd.DataFrame) -> list[Table]:
    """Planted targets and planted sites, from ``planted.tsv``."""
    if table["part"].eq("none").all():
        return [Table("Planted targets and sites", ["Note"], [[table["note"].iloc[0]]])]
    inside = table["part"].isin(OF_TARGETS)
    return [_targets(table[inside]), _sites(table[~inside])]


def _value(row: pd.Series) -> str:
    return interval(*(float(row[name]) for name in ("value", "ci_low", "ci_high")))


def _targets(table: pd.DataFrame) -> Table:
    rows = []
    for _, one in table.iterrows():
        share = one["part"] == "null"
        rows.append(
            [
                one["planted"].removeprefix("planted_"),
                one["relation"],
                system(one["system"]).label,
                "Share of p below 0.05" if share else metric(one["metric"]).label,
                number(one["expected"]),
                one["note"] if pd.isna(one["value"]) else _value(one),
                number(one["p"] if share else one["p_holm"]),
            ]
        )
    return Table(
        "Planted targets",
        ["Target", "Planted", "System", "Score", "Must be", "Found", "p"],
        rows,
        "Labels made of the synthetic cohort's truth. The true volumes must reach the score of the "
        "noiseless truth, y_sem that of its reading of the noiseless truth, and nothing tells what "
        "is drawn for each person. p is corrected by Holm's method over all targets; of the share "
        "it is that of Kolmogorov and Smirnov's test of uniform p values.",
    )


def _sites(table: pd.DataFrame) -> Table:
    rows = []
    for _, one in table.iterrows():
        flag = f" (confounded: {one['flag']})" if pd.notna(one["flag"]) else ""
        rows.append(
            [
                one["planted"],
                ABSENT if pd.isna(one["size"]) else f"{one['size']:g}",
                ABSENT if pd.isna(one["system"]) else system(one["system"]).label,
                PARTS[one["part"]],
                number(one["expected"]),
                _value(one) + flag,
                number(one["p"]),
            ]
        )
    return Table(
        "Planted sites",
        ["Site", "Shift (SD)", "System", "Measure", "Must be", "Found", "p"],
        rows,
        "Codes of the people of one of two sites were moved by so many SDs of the code along the "
        "shift. At the even site a coin decides, at the skewed one the diagnosis has a part. A "
        "site is told by its balanced accuracy, with p by permutation of people; p of differences "
        "by resampling.",
    )
