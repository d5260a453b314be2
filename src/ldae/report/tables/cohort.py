"""Tables of the cohort: population, exclusions by stage, and quality of preprocessing (QC)."""

from typing import Any

import pandas as pd

from ldae.cohort.splits import EXTERNAL, SPLITS
from ldae.labels import ABSENT, count, number
from ldae.preprocess.qc_bounds import MEASURES, shown_measures
from ldae.report.tables.table import Table

TABLE1 = {
    "cohort": "Cohort",
    "group": "Group",
    "subjects": "Subjects",
    "samples": "Scans",
    "age": "Age (years)",
    "mmse": "MMSE",
    "cdr": "CDR",
    "female": "Women (%)",
    "apoe4": "APOE ε4 carriers (%)",
    "field_1_5t": "1.5 T scans",
    "field_3t": "3 T scans",
    "follow_up": "Follow-up (months)",
}
PERCENT = ("female", "apoe4")
SHOWN = 12
LABELS = {measure.key: measure.label for measure in MEASURES}
STATUS = {"failed": "failed", "qc": "set aside", "ok": "used"}


def cohort(table: pd.DataFrame) -> Table:
    """Table 1 of the paper, with the subjects and scans of each split as further columns."""
    names = dict(TABLE1)
    for column in table.columns:
        if column.rsplit("_", 1)[0] in (*SPLITS, EXTERNAL):
            split, what = column.rsplit("_", 1)
            names[column] = f"{split} {'scans' if what == 'samples' else what}"
    shown = [name for name in names if name in table]
    rows = [
        [_cell(name, value) for name, value in zip(shown, row, strict=True)]
        for row in table[shown].astype(object).itertuples(index=False)
    ]
    sums = {number for number, group in enumerate(table["group"]) if group == "all"}
    return Table(
        "The cohort (the paper's Table 1)",
        [names[name] for name in shown],
        rows,
        "Mean ± standard deviation over scans; diagnosis, age and scores are those of the visit. "
        "Women and carriers: per cent of the subjects of whom it is known. Follow-up: median time "
        "between a subject's first and last scan. A subject whose diagnosis changed counts in each "
        "of its groups, as in the paper; “all” counts everyone once. The paper: CN 965 subjects, "
        "3,673 scans; AD 748, 2,064; MCI 1,193, 4,603.",
        sums,
    )


def _cell(column: str, value) -> str:
    if pd.isna(value):
        return "n/a" if column == "group" else ABSENT
    if column in PERCENT:
        return f"{float(value):.1f}"
    if column == "follow_up":
        return f"{float(value):g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def flow(table: pd.DataFrame) -> Table:
    """Flow of the cohort: images and subjects by stage, with the most frequent reasons.

    All stages of the first cohort are shown; of any further cohort only the stages with images.
    """
    several = table["cohort"].nunique() > 1
    table = table[(table["cohort"] == table["cohort"].iloc[0]) | (table["images"] > 0)]
    rows = []
    for one in table.itertuples():
        remaining = ABSENT if pd.isna(one.remaining) else f"{int(one.remaining):,}"
        reasons = ABSENT if pd.isna(one.reasons) else str(one.reasons)
        rows.append(
            [
                *([str(one.cohort)] if several else []),
                str(one.stage),
                f"{one.images:,}",
                f"{one.subjects:,}",
                remaining,
                str(one.explanation),
                reasons,
            ]
        )
    header = ["Stage", "Images", "Subjects", "Remaining", "What", "Most frequent reasons"]
    return Table("Images by stage", [*(["Cohort"] if several else []), *header], rows)


def _short(value: float) -> str:
    return f"{float(value):.4g}".replace("-", "−")


def repairs(provenance: pd.DataFrame) -> Table:
    """Study tables that were read, and how values in them were repaired, blanked or left out.

    Args:
        provenance: ``results/cohort/tables.tsv``.
    """
    rows = [
        [row.table, f"{row.rows:,}", str(row.repairs)]
        for row in provenance.fillna({"repairs": ABSENT}).itertuples()
    ]
    return Table("Study tables", ["Table", "Rows", "Repairs"], rows)


def measures(table: pd.DataFrame, bounds: dict[str, Any]) -> Table:
    """Median and range of every QC measure over the scans that have it, beside its bounds.

    Args:
        table: ``results/qc/measures.tsv``.
        bounds: config["preprocess"]["qc"]; a bound of None is off.
    """
    rows = []
    for measure in shown_measures(table.columns, bounds):
        values = table[measure.key].dropna()
        middle = [_short(values.median()), f"{_short(values.min())} to {_short(values.max())}"]
        ends = [
            pair
            for key in measure.bounds
            for pair in (
                zip(("at least", "at most"), bounds[key], strict=True)
                if isinstance(bounds[key], list)
                else [("at least" if key.startswith("min") else "at most", bounds[key])]
            )
        ]
        limits = [f"{side} {bound:g}" for side, bound in ends if bound is not None]
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
    """The first ``SHOWN`` scans of the QC page: failed, then outside a bound, then by robust z.

    Args:
        table: ``results/qc/measures.tsv``, in the order of its rows.
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
