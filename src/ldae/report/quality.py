"""Quality of preprocessing in the report: the measures over the cohort, and who stands out."""

from typing import Any

import pandas as pd

from ldae.labels import ABSENT, count, number
from ldae.preprocess.qc_bounds import MEASURES
from ldae.report.tables import Table

SHOWN = 12
LABELS = {measure.key: measure.label for measure in MEASURES}
STATUS = {"failed": "failed", "qc": "set aside", "ok": "used"}


def _short(value: float) -> str:
    return f"{float(value):.4g}".replace("-", "−")


def measures(table: pd.DataFrame, bounds: dict[str, Any]) -> Table:
    """Range of every measure over the scans that were registered, beside its bounds.

    Args:
        table: ``results/qc/measures.tsv``.
        bounds: config["preprocess"]["qc"].
    """
    rows = []
    for measure in MEASURES:
        values = table[measure.key].dropna()
        middle = [_short(values.median()), f"{_short(values.min())} to {_short(values.max())}"]
        limits = [
            f"{'at least' if key.startswith('min') else 'at most'} {bounds[key]:g}"
            for key in measure.bounds
            if bounds[key] is not None
        ]
        beyond = table["reason"].astype(str).str.startswith(f"QC: {measure.key} ").sum()
        rows.append(
            [
                measure.label,
                *(middle if len(values) else [ABSENT, ABSENT]),
                ", ".join(limits) or ABSENT,
                f"{beyond:,}",
            ]
        )
    status = table["status"].value_counts()
    return Table(
        "Measures of quality",
        ["Measure", "Median", "Range", "Bound", "Scans beyond it"],
        rows,
        f"{count(len(table), 'scan')}: {status.get('failed', 0):,} failed a step, "
        f"{status.get('qc', 0):,} set aside by a bound (counted at the first bound they break), "
        f"{status.get('ok', 0):,} within all bounds.",
    )


def outliers(table: pd.DataFrame) -> Table:
    """The scans at the top of the page of quality: failed, outside a bound, then farthest off.

    Args:
        table: ``results/qc/measures.tsv``, in its order.
    """
    rows = []
    for _, scan in table.head(SHOWN).iterrows():
        worst = scan["worst"]
        known = pd.notna(worst)
        rows.append(
            [
                str(scan["scan_id"]),
                STATUS[scan["status"]],
                LABELS[worst] if known else ABSENT,
                _short(scan[worst]) if known else ABSENT,
                _short(table[worst].median()) if known else ABSENT,
                number(float(scan["z"]), 1) if known else ABSENT,
                str(scan["reason"]) if pd.notna(scan["reason"]) else ABSENT,
            ]
        )
    return Table(
        "Scans that stand out",
        ["Scan", "Verdict", "Worst measure", "Value", "Cohort's median", "Robust z", "Reason"],
        rows,
        f"The first {len(rows)} of {len(table):,}: failed, then outside a bound, then by distance "
        "from the cohort's median in robust standard deviations. Pictures of all of them: "
        "qc/index.html in the results folder.",
    )
