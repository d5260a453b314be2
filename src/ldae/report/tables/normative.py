"""Tables of the normative view: calibration on held-out people, and deviations."""

import pandas as pd

from ldae.evaluation.normative.measures import MEASURES
from ldae.labels import ABSENT, count, interval, ordinal
from ldae.report.tables.table import Table

CALIBRATION = "People below each centile of healthy training people"
DEVIATIONS = "Deviations from healthy training people of the same age and sex"
WARNING = "For research: not a clinical reference."


def normative(table: pd.DataFrame) -> list[Table]:
    """Both tables, from ``normative.tsv``; one that says why there are no curves, if so."""
    if table["measure"].isna().all():
        return [Table(CALIBRATION, ["Curves"], [["none"]], _notes(table))]
    return [_calibration(table), _deviations(table)]


def _calibration(table: pd.DataFrame) -> Table:
    """Share of the people of the curves' own class below each centile."""
    own = table[(table["quantity"] == "below") & table["expected"].notna()]
    centiles = sorted(own["centile"].unique())
    rows = []
    for measure, mine in own.groupby("measure", sort=False):
        cells = mine.set_index("centile")
        rows.append([_label(measure), *(_cell(cells.loc[one]) for one in centiles)])
    columns = ["Measure", *(f"{ordinal(one)}: {one / 100:g} expected" for one in centiles)]
    return Table(CALIBRATION, columns, rows, f"{_sizes(table, own)} {WARNING}")


def _deviations(table: pd.DataFrame) -> Table:
    """Mean deviation of either class, their difference, and patients beyond the outer centiles."""
    gaps = table[table["quantity"] == "deviation_difference"].set_index("measure")
    means = table[table["quantity"] == "deviation"]
    shares = table[(table["quantity"] == "below") & table["expected"].isna()]
    classes = list(means["diagnosis"].drop_duplicates())
    columns = ["Measure", *(f"{name}, mean z" for name in classes)]
    if len(gaps):
        first = gaps.iloc[0]
        columns.append(f"{first['diagnosis']} less {first['reference']}")
    outer = [shares["centile"].min(), shares["centile"].max()] if len(shares) else []
    if outer:
        ill = shares["diagnosis"].iloc[0]
        columns += [
            f"{ill} below the {ordinal(outer[0])}", f"{ill} above the {ordinal(outer[1])}"
        ]  # fmt: skip
    rows = []
    for measure, mine in means.groupby("measure", sort=False):
        found = mine.set_index("diagnosis")
        row = [_label(measure)]
        row += [_cell(found.loc[name]) if name in found.index else ABSENT for name in classes]
        if len(gaps):
            row.append(_cell(gaps.loc[measure]) if measure in gaps.index else ABSENT)
        if outer:
            here = shares[shares["measure"] == measure].set_index("centile")
            row += [_cell(here.loc[outer[0]]), _above(here.loc[outer[1]])]
        rows.append(row)
    note = (
        "z: normal quantile of the place among the centiles; beyond the outermost one it goes on "
        f"as in a normal distribution. {_sizes(table, means)} {WARNING}"
    )
    return Table(DEVIATIONS, columns, rows, note)


def _label(measure: str) -> str:
    about = MEASURES[measure]
    return f"{about.label} ({about.unit})" if about.unit else about.label


def _cell(row: pd.Series) -> str:
    return interval(*(float(row[key]) for key in ("value", "ci_low", "ci_high")), 2)


def _above(row: pd.Series) -> str:
    """The share that is not below."""
    return interval(*(1 - float(row[key]) for key in ("value", "ci_high", "ci_low")), 2)


def _sizes(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Numbers of people of the curves and of the tests, and of scans that lie outside of them."""
    people = [
        f"{int(mine['n_subjects'].max())} {name}"
        for name, mine in rows.groupby("diagnosis", sort=False)
    ]
    beyond = table.drop_duplicates("diagnosis").set_index("diagnosis")["n_outside"]
    outside = int(beyond[list(dict.fromkeys(rows["diagnosis"]))].sum())
    left_out = (
        f" {count(outside, 'scan')} outside the curves' ages {'is' if outside == 1 else 'are'} "
        "left out."
        if outside
        else ""
    )
    tested = f"{', '.join(people)}, each counted once" if people else "none"
    words = (
        f"Curves of {int(table['fitted_subjects'].iloc[0])} training people; test people: "
        f"{tested}.{left_out} {_notes(table)}"
    )
    return words.rstrip()


def _notes(table: pd.DataFrame) -> str:
    """What is missing, and why: a sentence for each note of the table."""
    notes = table["note"].dropna().drop_duplicates()
    return " ".join(f"{note[:1].upper()}{note[1:]}." for note in notes)
