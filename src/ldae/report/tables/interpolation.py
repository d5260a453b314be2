"""Tables of predicted visits: interpolated between two known ones, extrapolated after two."""

import pandas as pd

from ldae.labels import ABSENT, number
from ldae.report.tables.table import Table, cell
from ldae.systems import metric, system

GROUPINGS = {
    "overall": "all",
    "prediction_gap": "prediction gap (months)",
    "time_gap": "time between the known ones (months)",
    "relative_position": "relative position",
    "horizon": "months ahead",
}
STUDIES = {"interpolation": "a missing visit", "extrapolation": "the next visit"}
PAPER = "The paper states SSIM above 0.93 and MSE below 0.004 for gaps up to 24 months."


def predicted_visits(table: pd.DataFrame, what: str, note: str = "") -> list[Table]:
    """One table a metric (SSIM, MSE to the AE reconstruction): groups of triplets by method.

    Args:
        table: ``interpolation.tsv`` or ``extrapolation.tsv``.
        what: Start of the titles.
        note: Of the first table.
    """
    methods = list(table["method"].drop_duplicates())
    made = []
    for key in ("ssim_to_ae", "mse_to_ae"):
        rows = []
        mine = table[table["metric"] == key]
        for (grouping, group), part in mine.groupby(["grouping", "group"], sort=False):
            found = {row["method"]: row for _, row in part.iterrows()}
            size = part.iloc[0]
            rows.append(
                [
                    GROUPINGS.get(grouping, grouping),
                    str(group),
                    f"{int(size['n_triplets']):,}",
                    f"{int(size['n_subjects']):,}",
                    *(cell(found[name], name=key) if name in found else ABSENT for name in methods),
                ]
            )
        columns = [
            "Triplets by",
            "",
            "Triplets",
            "Subjects",
            *(system(name).label for name in methods),
        ]
        made.append(Table(f"{what}: {metric(key).label}", columns, rows, "" if made else note))
    return made


def predicted_visit_differences(table: pd.DataFrame, what: str) -> Table:
    """Paired differences of the LDAE, and of its corrected average, over triplets."""
    rows = [
        [
            system(one["method"]).label,
            system(one["reference"]).label,
            metric(one["metric"]).label,
            cell(one, "difference", one["metric"]),
            f"{int(one['n_better']):,} of {int(one['n_triplets']):,}",
        ]
        for _, one in table.iterrows()
    ]
    columns = ["Prediction", "Baseline", "Measure", "Difference", "Better"]
    return Table(f"{what}: LDAE less baselines", columns, rows)


def corrections(table: pd.DataFrame) -> Table:
    """Corrections of averaged visits that were tried on validation subjects.

    Args:
        table: ``visit_correction.tsv``.
    """
    rows = []
    for _, one in table.iterrows():
        corrects = one["strength"] > 0
        tried = (f"{one['strength']:g}", f"{one['own_line']:.0%}", f"{int(one['from_step'])}")
        numbers = (number(one[key], 4) for key in ("value", "difference", "standard_error"))
        rows.append(
            [
                STUDIES[one["study"]],
                *(tried if corrects else ("none", ABSENT, ABSENT)),
                *numbers,
                f"{int(one['n_subjects']):,}",
                "yes" if one["chosen"] else "",
            ]
        )
    columns = ["Prediction of", "Strength", "Own line", "From step", metric("ssim").label]
    columns += ["Gain", "Standard error", "Subjects", "Chosen"]
    note = (
        "Chosen is the simplest within one standard error of the largest gain over the average as "
        "it is. Where that is none, the corrected average is the average."
    )
    return Table("Corrections of averaged visits on validation subjects", columns, rows, note)
