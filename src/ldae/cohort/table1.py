"""Table 1 of the paper: demographics of the included subjects and scans."""

import pandas as pd

from ldae.cohort.splits import assert_disjoint, splits_of

GROUPS = ("CN", "AD", "MCI")
_SCORES = {"age": "age", "mmse": "mmse", "cdr": "cdr_global"}
_FIELDS = {"field_1_5t": (1.0, 2.0), "field_3t": (2.5, 3.5)}  # Tesla; ADNI writes 2.89 for 3


def cohort_table(scans: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Table 1: subjects, samples, and mean ± standard deviation of age, MMSE and CDR by diagnosis.

    Diagnosis, age and scores are those of the visit. As in the paper, a subject whose diagnosis
    changed counts in each of its groups. The row `all` counts every subject once and includes scans
    without diagnosis (row `n/a`, if there are any).

    Args:
        scans: The included rows of the scan table.
        splits: participant_id, split.

    Returns:
        Columns group, subjects, samples, age (years), mmse, cdr (text, ``75.43 ± 6.83``, over
        scans); female and apoe4 (text, per cent of the subjects of whom it is known: women,
        carriers of an e4 allele); field_1_5t, field_3t (scans); follow_up (median months between
        a subject's first and last scan in any group); ``<split>_subjects`` and
        ``<split>_samples`` for train, val, test and, if a data set has the role ``test``,
        external. With several cohorts, a first column cohort
        separates their blocks of rows, and the last block, cohort ``all``, combines them.

    Raises:
        UserError: a subject is in two splits (:func:`ldae.cohort.splits.assert_disjoint`).
    """
    assert_disjoint(splits)
    scans = scans.merge(splits, on="participant_id", how="left", validate="many_to_one")
    months = scans.groupby("participant_id")["months"]
    scans["follow_up"] = months.transform("max") - months.transform("min")
    names = sorted(scans["cohort"].unique())
    if len(names) == 1:
        return _block(scans, splits_of(splits))
    parts = {**{name: scans[scans["cohort"] == name] for name in names}, "all": scans}
    blocks = [(name, _block(part, splits_of(splits))) for name, part in parts.items()]
    for name, block in blocks:
        block.insert(0, "cohort", name)
    return pd.concat([block for _, block in blocks], ignore_index=True)


def _block(scans: pd.DataFrame, splits: list[str]) -> pd.DataFrame:
    groups = {group: scans[scans["diagnosis"] == group] for group in GROUPS}
    if scans["diagnosis"].isna().any():
        groups["n/a"] = scans[scans["diagnosis"].isna()]
    groups["all"] = scans
    rows = []
    for name, group in groups.items():
        row = {"group": name, **_counts(group)}
        row |= {score: mean_sd(group[column]) for score, column in _SCORES.items()}
        row |= _others(group)
        for split in splits:
            part = _counts(group[group["split"] == split])
            row |= {f"{split}_{key}": value for key, value in part.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def mean_sd(values: pd.Series) -> str | None:
    """``mean ± standard deviation`` (n - 1) to two digits, without n/a.

    A single value has no deviation; None without values.
    """
    values = pd.to_numeric(values).dropna()
    if values.empty:
        return None
    if len(values) == 1:
        return f"{values.iloc[0]:.2f}"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def _others(scans: pd.DataFrame) -> dict[str, str | int | float | None]:
    subjects = scans.groupby("participant_id")[["sex", "apoe4", "follow_up"]].first()
    known = subjects["apoe4"].dropna()
    fields = {
        name: int(scans["field_strength"].between(low, high).sum())
        for name, (low, high) in _FIELDS.items()
    }
    return {
        "female": _percentage(subjects["sex"].dropna() == "F"),
        "apoe4": _percentage(pd.to_numeric(known) > 0),
        **fields,
        "follow_up": float(subjects["follow_up"].median()) if len(subjects) else None,
    }


def _percentage(yes: pd.Series) -> str | None:
    return f"{100 * yes.mean():.1f}" if len(yes) else None


def _counts(scans: pd.DataFrame) -> dict[str, int]:
    return {"subjects": scans["participant_id"].nunique(), "samples": len(scans)}
