"""Test people of the explorer: a choice by rule, the same for the same test split."""

from collections.abc import Collection

import pandas as pd

from ldae.evaluation.test_scans import evenly_spaced

ORDER = ("CN", "MCI", "AD")  # of the diagnoses on the page; others follow by name


def chosen_people(
    test: pd.DataFrame, per_class: int, with_truth: Collection[str] = ()
) -> pd.DataFrame:
    """Choose a scan each of at most ``per_class`` participants of every diagnosis.

    Participants with a scan whose true counterfactual is known come first, then those with visits
    in two months or more; among equals the choice is spread evenly over the sorted ids. The scan is
    the one with the counterfactual, else the earliest with the diagnosis. Nobody is chosen twice.

    Args:
        test: Test rows of a volume store's index: scan_id, participant_id, months, diagnosis.
        per_class: Largest number of participants of a diagnosis.
        with_truth: Scans whose true counterfactual is known.

    Returns:
        The chosen rows, by diagnosis and participant, index kept.
    """
    several = test.groupby("participant_id")["months"].nunique() > 1
    known = test[test["diagnosis"].notna()]
    names = [*ORDER, *sorted(set(known["diagnosis"]) - set(ORDER))]
    chosen: list = []
    taken: set[str] = set()
    for name in names:
        rows = known[(known["diagnosis"] == name) & ~known["participant_id"].isin(taken)]
        rows = rows.assign(lacks_truth=~rows["scan_id"].isin(with_truth))
        rows = rows.sort_values(["participant_id", "lacks_truth", "months", "scan_id"])
        first = rows.drop_duplicates("participant_id")
        rank = first["lacks_truth"] * 2 + ~first["participant_id"].map(several)
        found: list = []
        for level in sorted(set(rank)):
            equals = first.index[rank == level]
            found += [equals[i] for i in evenly_spaced(len(equals), per_class - len(found))]
        found.sort(key=lambda row: first.at[row, "participant_id"])
        chosen += found
        taken |= set(first.loc[found, "participant_id"])
    return test.loc[chosen]


def rule(per_class: int, with_truth: bool) -> str:
    """The rule of :func:`chosen_people` in a sentence."""
    first = "first those whose true counterfactual is known, then " if with_truth else "first "
    return (
        f"Of every diagnosis up to {per_class} test participants were chosen by rule: {first}those "
        "with visits in two months or more; among equals, evenly spread over the sorted ids."
    )
