"""Tables of the scanner: what codes tell of it, the cost of harmonisation, confounding, groups.

Each note begins with what the table says, in a plain sentence.
"""

import pandas as pd

from ldae.labels import ABSENT, count, interval, listing, number
from ldae.report.tables.table import Table, cell
from ldae.systems import metric, system

OWN = "ldae"
ALPHA = 0.05
CLINICAL = {"diagnosis": "Diagnosis", "age": "Age"}
MOST_VALUES = 30  # of a column in a printed table; the file has all


def words(column: str) -> str:
    """A column as a heading: ``field_strength`` as Field strength."""
    return column.replace("_", " ").capitalize()


def told(table: pd.DataFrame) -> Table:
    """What codes tell of the scanner, from ``scanner.tsv``: a row a column and system."""
    rows, said = [], []
    for column, part in table.groupby("column", sort=False):
        first = part.iloc[0]
        if part["value"].isna().all():
            rows.append([words(column), ABSENT, first["note"], *[ABSENT] * 4])
            continue
        for name, mine in part.groupby("system", sort=False):
            forms = mine.set_index("harmonised")
            plain = forms.loc["none"]
            after = forms.loc["combat"] if "combat" in forms.index else None
            rows.append(
                [
                    words(column),
                    system(name).label,
                    cell(plain, name=plain["metric"]),
                    number(plain["p"]),
                    ABSENT if after is None else cell(after, name=after["metric"]),
                    ABSENT if after is None else number(after["p"]),
                    f"{number(plain['chance'])} [{number(plain['null_low'])}, "
                    f"{number(plain['null_high'])}]",
                ]
            )
            if name == OWN:
                said.append(_sentence(column, plain, after))
    notes = table.drop_duplicates("column").dropna(subset=["note", "value"])
    why = [f"{words(one['column'])}: {one['note']}." for _, one in notes.iterrows()]
    return Table(
        "What codes tell of the scanner",
        ["Column", "System", "Balanced accuracy", "p", "After ComBat", "p", "Chance"],
        rows,
        " ".join(said)
        + " Estimate [95 % interval over subjects] of linear probes on the frozen test split. "
        "Chance: one over the number of values, and the central 95 % with labels permuted between "
        "test subjects; p is the share of permutations that reach the value. ComBat is fitted on "
        "training scans; a value below the permutations' range after it means that it "
        "over-corrects: the noise of a site's training scans is taken from its test scans, which "
        f"still differ by it, with the opposite sign. {' '.join(why)}".rstrip(),
    )


def _sentence(column: str, plain: pd.Series, after: pd.Series | None) -> str:
    """A plain sentence on one column for the LDAE."""
    word = column.replace("_", " ")
    sees = "tells" if plain["p"] < ALPHA else "is not shown to tell"
    found = f"y_sem {sees} the {word} ({number(plain['value'])}, chance {number(plain['chance'])})"
    if after is None:
        return found + "."
    value = number(after["value"])
    if after["value"] < after["null_low"]:
        return f"{found}; after ComBat less often than by chance ({value}): it over-corrects."
    if plain["p"] >= ALPHA:
        return found + "."
    still = "it still does" if after["p"] < ALPHA else "that is not shown"
    return f"{found}; after ComBat {still} ({value})."


def cost(table: pd.DataFrame) -> Table:
    """What harmonisation changes, from ``scanner_cost.tsv``."""
    rows, worse = [], []
    for _, one in table.iterrows():
        if pd.isna(one["difference"]):
            name = ABSENT if pd.isna(one["system"]) else system(one["system"]).label
            rows.append([words(one["column"]), name, *[ABSENT] * 3, one["note"], ABSENT])
            continue
        clinical = one["target"] in CLINICAL
        rows.append(
            [
                words(one["column"]),
                system(one["system"]).label,
                CLINICAL[one["target"]] if clinical else words(one["target"]),
                metric(one["metric"]).label,
                number(one["before"], metric(one["metric"]).digits),
                cell(one, "difference", one["metric"]),
                number(one["p"]),
            ]
        )
        if clinical and one["system"] == OWN and _is_worse(one):
            worse.append(f"{one['target']} by {words(one['column']).lower()}")
    own = table[(table["system"] == OWN) & table["difference"].notna()]
    said = f"Harmonising y_sem costs {listing(worse)}" if worse else "No cost for y_sem is shown"
    if not rows:
        said = "Nothing was harmonised (evaluation.scanner.harmonise)"
    elif own.empty:
        said = "y_sem was not harmonised"
    return Table(
        "What harmonisation costs",
        ["Harmonised", "System", "Predicted", "Score", "Before", "After less before", "p"],
        rows,
        f"{said}. Paired differences on the same resampled test subjects [95 % interval], p "
        "two-sided and not corrected. ComBat keeps the effects of its covariates, but never that "
        "of the target: diagnosis is no covariate, and age is none where age is predicted. Where "
        "a target differs between sites, what harmonisation takes is in part the target.",
    )


def _is_worse(row: pd.Series) -> bool:
    """Whether the whole interval of a difference is on the worse side."""
    higher = metric(row["metric"]).higher_is_better
    return bool(row["ci_high"] < 0 if higher else row["ci_low"] > 0)


def confounding(table: pd.DataFrame) -> Table:
    """Association of targets with the scanner, from ``confounding.tsv``."""
    rows = []
    for _, one in table.iterrows():
        known = pd.notna(one["cramers_v"])
        rows.append(
            [
                one["label"],
                words(one["column"]),
                number(one["cramers_v"], 2),
                number(one["p"]),
                number(one["p_holm"]),
                one["confounded"] if known else one["note"],
                f"{int(one['n_subjects']):,}",
            ]
        )
    flagged = table[table["confounded"] == "yes"]
    pairs = [
        f"{one['label']} with {words(one['column']).lower()} (V {number(one['cramers_v'], 2)})"
        for _, one in flagged.iterrows()
    ]
    said = (
        f"Confounded: {listing(pairs)}: a probe may answer by the scanner."
        if pairs
        else "No target is confounded with a column of the scanner as far as these people show."
    )
    return Table(
        "Confounding of targets with the scanner",
        ["Target", "Column", "Cramér's V", "p", "p (Holm)", "Confounded", "People"],
        rows,
        f"{said} Cramér's V corrected for its bias (0 none, 1 the one tells the other), each "
        "person once; p of the chi-square by permutation of people. Flagged from V 0.1 with a "
        "corrected p below 0.05. Continuous targets are cut at their terciles.",
    )


def counts(table: pd.DataFrame) -> list[Table]:
    """People of every class by value of each column, from ``confounding_counts.tsv``.

    A table for each target; of a column with many values the file alone has all.
    """
    found = []
    for _, part in table.groupby("target", sort=False):
        classes = list(part["class"].drop_duplicates())
        rows = []
        for column, mine in part.groupby("column", sort=False):
            people = mine.set_index(["class", "value"])["n_subjects"].to_dict()
            for value in mine["value"].drop_duplicates()[:MOST_VALUES]:
                cells = [f"{people.get((name, value), 0):,}" for name in classes]
                rows.append([words(column), str(value), *cells])
        label = part["label"].iloc[0]
        note = f"Each person once. At most {MOST_VALUES} values of a column are shown."
        found.append(
            Table(
                f"People by scanner: {label}", ["Column", "Value", *map(str, classes)], rows, note
            )
        )
    return found


def fairness(table: pd.DataFrame) -> Table:
    """Scores by group, from ``fairness.tsv``."""
    rows = []
    for _, one in table.iterrows():
        scored = pd.notna(one["value"])
        gap = [one[key] for key in ("difference", "difference_low", "difference_high")]
        digits = metric(one["metric"]).digits
        people = ABSENT if pd.isna(one["n_subjects"]) else f"{int(one['n_subjects']):,}"
        rows.append(
            [
                one["label"],
                system(one["system"]).label,
                words(one["column"]),
                ABSENT if pd.isna(one["group"]) else one["group"],
                f"{metric(one['metric']).label} {cell(one, name=one['metric'])}"
                if scored
                else one["note"],
                ABSENT if pd.isna(one["reference"]) else interval(*map(float, gap), digits),
                ABSENT if pd.isna(one["reference"]) else f"than {one['reference']}",
                number(one["p_holm"]),
                people,
            ]
        )
    shown = table[table["p_holm"] < ALPHA]
    gaps = [
        f"{one['label']} in {one['group']} ({words(one['column']).lower()})"
        for _, one in shown.iterrows()
    ]
    said = f"Groups differ in {listing(gaps)}. " if gaps else "No gap between groups is shown. "
    unknown = table.groupby("column", sort=False)["n_unknown"].max()
    lacking = [
        f"{words(column)} is not known of {count(int(amount), 'test scan')}."
        for column, amount in unknown[unknown > 0].items()
    ]
    return Table(
        "Scores by group of people",
        ["Target", "System", "Column", "Group", "Score", "Difference", "", "p (Holm)", "People"],
        rows,
        f"{said}Estimate [95 % interval over subjects], regularised probes on the frozen test "
        "split; differences on the same resampled subjects, p two-sided, corrected by Holm's "
        "method for their number within a system. A gap may lie in the people (mild cases, few "
        "ages: an error of age is largest at both ends), not in the model. "
        + " ".join(lacking).rstrip(),
    )
