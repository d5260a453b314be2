"""Tables of all targets of the probes, and a table for each of them."""

import pandas as pd

from ldae.labels import ABSENT, count, number
from ldae.report.tables.probes import without_paper_probe
from ldae.report.tables.table import Table, cell
from ldae.systems import is_baseline, metric, system, table_position

FROZEN, OWN = "frozen", "ldae"
CALIBRATION = ("brier", "calibration_slope", "calibration_intercept")
HOLM = "corrected by Holm's method for the number of targets"


def targets(table: pd.DataFrame) -> list[Table]:
    """An overview with a row a target, then a table for each target.

    Args:
        table: ``targets.tsv``.
    """
    names = table["target"].drop_duplicates()
    return [overview(table), *(one_target(table[table["target"] == name]) for name in names)]


def overview(table: pd.DataFrame) -> Table:
    """Every target on the frozen split: the LDAE, against chance and the best baseline.

    Args:
        table: ``targets.tsv``.
    """
    rows = []
    frozen = table[(table["split"] == FROZEN)]
    for _, mine in frozen.groupby("target", sort=False):
        first = mine.iloc[0]
        tested = mine[mine["chance"].notna() | mine["note"].notna()]
        own = tested[tested["system"] == OWN].iloc[0]
        people = f"{int(first['n_scans']):,} of {int(first['n_subjects']):,}"
        if pd.notna(first["note"]):
            rows.append([first["label"], first["kind"], first["note"], *[ABSENT] * 4, people])
            continue
        others = tested[tested["system"].map(is_baseline) & tested["value"].notna()]
        best = others.loc[others["value"].idxmax()] if len(others) else None
        rows.append(
            [
                first["label"],
                first["kind"],
                metric(own["metric"]).label,
                cell(own, name=own["metric"]),
                number(own["chance"], 1),
                number(own["p_holm"]),
                ABSENT if best is None else f"{system(best['system']).label} "
                f"{cell(best, name=best['metric'])}",
                people,
            ]
        )  # fmt: skip
    return Table(
        "Targets of the probes",
        ["Target", "Kind", "Score", "LDAE", "Chance", "p (Holm)", "Best baseline", "Scans"],
        rows,
        "Estimate [95 % interval over subjects], regularised probes on the frozen test split; "
        f"scans of so many test subjects; p of chance, two-sided, {HOLM}. No bounds (true volumes, "
        "encoders trained on the labels) are among the baselines.",
    )


def one_target(table: pd.DataFrame) -> Table:
    """One target: a row for each system on the frozen split, then for other splits of the codes.

    Args:
        table: Rows of ``targets.tsv`` of one target.
    """
    first = table.iloc[0]
    scores = list(dict.fromkeys(table["metric"]))
    rows = []
    for split, part in table.groupby("split", sort=False):
        for name in sorted(part["system"].drop_duplicates(), key=table_position):
            mine = part[part["system"] == name].set_index("metric")
            cells = [
                cell(mine.loc[key], name=key)
                if key in mine.index and pd.notna(mine.at[key, "value"])
                else ABSENT
                for key in scores
            ]
            tested = mine.iloc[0]
            people = tested["n_training"]
            rows.append(
                [
                    "Frozen" if split == FROZEN else str(split).capitalize(),
                    system(name).label,
                    *cells,
                    number(tested["p"]),
                    number(tested["p_holm"]),
                    ABSENT if pd.isna(people) else f"{int(people):,}",
                    f"{int(tested['n_subjects']):,}",
                ]
            )
    notes = table.drop_duplicates("split").dropna(subset="note")
    why = [f"{row['split'].capitalize()}: {row['note']}." for _, row in notes.iterrows()]
    positive = first["n_positive"]
    size = count(int(first["n_scans"]), "test scan")
    size += "" if pd.isna(positive) else f", {int(positive):,} of them positive"
    return Table(
        f"Target: {first['label']} ({first['kind']})",
        ["Split", "System", *(metric(key).label for key in scores), "p", "p (Holm)",
         "Training people", "Predicted people"],
        rows,
        f"Estimate [95 % interval over subjects]; {size}; p of chance, two-sided, {HOLM} on "
        "the frozen split. Folds and sites mix people whose images the LDAE was trained on with "
        f"others. {' '.join(why)}".strip(),
    )  # fmt: skip


def differences(table: pd.DataFrame) -> Table:
    """The LDAE less every other system, for all targets.

    Args:
        table: ``targets_differences.tsv``.
    """
    rows = [
        [
            one["label"],
            metric(one["metric"]).label,
            system(one["reference"]).label,
            cell(one, "difference", one["metric"]),
            number(one["p"]),
            number(one["p_holm"]),
        ]
        for _, one in table.iterrows()
    ]
    return Table(
        "Targets: LDAE less other systems",
        ["Target", "Score", "Other system", "Difference", "p", "p (Holm)"],
        rows,
        f"On the same resampled test subjects of the frozen split; above zero is better; p "
        f"two-sided, {HOLM}.",
    )


def calibration(table: pd.DataFrame) -> Table:
    """Calibration of the probabilities of all binary targets.

    Args:
        table: ``targets_calibration.tsv``, whose curves are not printed.
    """
    rows = []
    kept = table[table["quantity"].isin(CALIBRATION)]
    for (_, name), part in kept.groupby(["target", "system"], sort=False):
        found = part.set_index("quantity")
        cells = [cell(found.loc[key], name=key) for key in CALIBRATION]
        rows.append([part["label"].iloc[0], system(name).label, *cells])
    return Table(
        "Targets: calibration of probabilities",
        ["Target", "System", *(metric(key).label for key in CALIBRATION)],
        rows,
        "Slope of the truth on the logit of the probability: 1 is right, below 1 the probabilities "
        "are too extreme; n/a where the classes are separated. Curves and net benefit at every "
        "threshold are in the TSV.",
    )


def external(table: pd.DataFrame) -> Table:
    """Targets of the user on external test sets: a row a score, a column a system.

    Args:
        table: ``targets_external.tsv``.
    """
    left_out = table[table["note"].notna()]
    words = [
        f"{one['cohort']}, {one['target']}, left out: {one['note']}."
        for _, one in left_out.iterrows()
    ]
    note = " ".join(["Estimate [95 % interval over subjects], regularised probes.", *words])
    return _by_cohort(table[table["note"].isna()], "value", "Targets on external test sets", note)


def external_differences(table: pd.DataFrame) -> Table:
    """Scores on external test sets less those on the own test set.

    Args:
        table: ``targets_external_differences.tsv``.
    """
    title = "Targets: external test sets less the own one"
    note = "Estimate [95 % interval, the subjects of both test sets resampled]."
    return _by_cohort(table, "difference", title, note)


def _by_cohort(table: pd.DataFrame, column: str, title: str, note: str) -> Table:
    """A row for each test set, target and score, a column for each system."""
    shown = without_paper_probe(table)
    names = sorted(shown["system"].drop_duplicates(), key=table_position)
    rows = []
    for (cohort, target, score), part in shown.groupby(["cohort", "target", "metric"], sort=False):
        found = part.set_index("system")
        cells = [
            cell(found.loc[name], column, score) if name in found.index else ABSENT
            for name in names
        ]
        rows.append([cohort, target, metric(score).label, *cells])
    columns = ["Test set", "Target", "Score", *(system(name).label for name in names)]
    return Table(title, columns, rows, note)
