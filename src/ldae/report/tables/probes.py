"""Tables of the linear probes: systems side by side, and the LDAE less the others."""

import pandas as pd

from ldae.labels import ABSENT, number
from ldae.report.tables.table import Table, cell
from ldae.systems import TARGETS, metric, system, table_position

# Scores by target, in the table with a row a system.
SHOWN = {
    "diagnosis": ("auroc", "balanced_accuracy", "sensitivity", "specificity"),
    "age": ("mae", "rmse", "r2"),
}
COIN = 0.5  # rate of wrongly called scans from which a threshold without a miss has failed


def without_paper_probe(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the regularised probes, and of systems that predict without a probe."""
    return table[table["probe"] != "paper"]


def probes(table: pd.DataFrame, target: str) -> Table:
    """Table 7 for one target: a row a metric, a column a system, the paper's LDAE last.

    Args:
        table: ``probes.tsv``.
        target: ``diagnosis`` or ``age``.
    """
    mine = without_paper_probe(table[table["target"] == target])
    systems = list(mine["system"].drop_duplicates())
    rows = []
    for key in mine["metric"].drop_duplicates():
        found = mine[mine["metric"] == key].set_index("system")
        cells = [
            cell(found.loc[name], name=key) if name in found.index else ABSENT for name in systems
        ]
        rows.append([metric(key).label, *cells, number(found["paper"].get("ldae"))])
    size = mine.iloc[0]
    positive = f", {int(size['n_positive']):,} of them AD" if target == "diagnosis" else ""
    title = "AD against CN" if target == "diagnosis" else "Age (years)"
    return Table(
        f"Linear probes: {title} (Table 7)",
        ["Measure", *(system(name).label for name in systems), "Paper (LDAE)"],
        rows,
        f"{int(size['n_scans']):,} scans{positive}, of {int(size['n_subjects']):,} test subjects.",
    )


def by_system(table: pd.DataFrame, target: str) -> Table:
    """Probes of one target: a row a system, so that the controls stand below the LDAE.

    Args:
        table: ``probes.tsv``.
        target: ``diagnosis`` or ``age``.
    """
    mine = without_paper_probe(table[table["target"] == target])
    shown = [name for name in SHOWN[target] if name in set(mine["metric"])]
    headline = TARGETS[target].headline
    rows, thresholds = [], []
    for name in sorted(mine["system"].drop_duplicates(), key=table_position):
        found = mine[mine["system"] == name].set_index("metric")
        cells = [cell(found.loc[key], name=key) if key in found.index else ABSENT for key in shown]
        paper = float(found.at[headline, "paper"]) if headline in found.index else None
        cells.insert(1, number(paper, metric(headline).digits))
        rows.append([system(name).label, *cells])
        thresholds.append(threshold_failure(found["value"]))
    columns = ["System", *(metric(name).label for name in shown)]
    columns.insert(2, f"{metric(headline).label}, paper")
    if any(thresholds):
        columns.append("Threshold")
        rows = [[*row, text or ABSENT] for row, text in zip(rows, thresholds, strict=True)]
    size = mine.iloc[0]
    positive = f", {int(size['n_positive']):,} of them AD" if target == "diagnosis" else ""
    title = "AD against CN" if target == "diagnosis" else "Age (years)"
    return Table(
        f"Linear probes: {title} (Table 7)",
        columns,
        rows,
        f"Estimate [95 % interval]; {int(size['n_scans']):,} scans{positive}, of "
        f"{int(size['n_subjects']):,} test subjects.",
    )


def threshold_failure(scores: pd.Series) -> str:
    """How a probe's threshold failed, in words; empty if it did not.

    It failed if every scan is called one class, or nearly so: none of AD is found, or all of AD
    and at least half of CN too. The scores without a threshold, as the AUROC, are valid still.

    Args:
        scores: Values by metric; ``sensitivity`` is that of AD, ``specificity`` that of CN.
    """
    if not {"sensitivity", "specificity"} <= set(scores.index):
        return ""
    sensitivity, false_alarms = float(scores["sensitivity"]), 1 - float(scores["specificity"])
    if sensitivity == 0:
        return "failed: no AD scan called AD"
    if sensitivity == 1 and false_alarms == 1:
        return "failed: every scan called AD"
    if sensitivity == 1 and false_alarms >= COIN:
        return f"failed: all of AD and {100 * false_alarms:.0f} % of CN called AD"
    return ""


def probe_differences(table: pd.DataFrame) -> Table:
    """Paired differences of the LDAE with the other systems, in the main metrics."""
    rows = [
        [
            TARGETS[one["target"]].label,
            metric(one["metric"]).label,
            system(one["reference"]).label,
            cell(one, "difference", one["metric"]),
            number(one["p"]),
            number(one["p_holm"]),
        ]
        for _, one in without_paper_probe(table).iterrows()
        if one["metric"] in ("auroc", "balanced_accuracy", "macro_auroc", "mae", "rmse")
    ]
    return Table(
        "LDAE less other systems",
        ["Target", "Measure", "Other system", "Difference", "p", "p (Holm)"],
        rows,
        "On the same resampled subjects; p two-sided from them, and corrected for the number of "
        "systems. Above zero is better for AUROC and accuracy, below for errors.",
    )
