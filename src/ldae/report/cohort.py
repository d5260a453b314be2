"""Tables of the cohort: the population, and what was left out at which stage."""

import pandas as pd

from ldae.figures.text import ABSENT
from ldae.report.tables import Table

TABLE1 = {
    "group": "Group",
    "subjects": "Subjects",
    "samples": "Scans",
    "age": "Age (years)",
    "mmse": "MMSE",
    "cdr": "CDR",
}


def cohort(table: pd.DataFrame) -> Table:
    """Table 1 with the splits beside."""
    names = dict(TABLE1)
    for column in table.columns:
        if column.rsplit("_", 1)[0] in ("train", "val", "test"):
            split, what = column.rsplit("_", 1)
            names[column] = f"{split} {'scans' if what == 'samples' else what}"
    shown = [name for name in names if name in table]
    rows = [
        ["–" if pd.isna(v) else f"{v:,}" if isinstance(v, int) else str(v) for v in row]
        for row in table[shown].astype(object).itertuples(index=False)
    ]
    return Table(
        "The cohort (the paper's Table 1)",
        [names[name] for name in shown],
        rows,
        "Mean ± standard deviation over scans. A subject whose diagnosis changed counts in each of "
        "its groups, as in the paper; “all” counts everyone once.",
        {len(rows) - 1},
    )


def flow(table: pd.DataFrame) -> Table:
    """What was left out where."""
    rows = [
        [
            str(one.stage),
            f"{one.images:,}",
            f"{one.subjects:,}",
            ABSENT if pd.isna(one.remaining) else f"{int(one.remaining):,}",
            str(one.explanation),
        ]
        for one in table.itertuples()
    ]
    return Table("Images by stage", ["Stage", "Images", "Subjects", "Remaining", "What"], rows)
