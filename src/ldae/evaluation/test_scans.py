"""Selection of test scans, and of another participant's scan as the wrong-code control."""

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.seeds import derive_seed


def evenly_spaced(count: int, most: int | None) -> list[int]:
    """At most ``most`` of ``count`` positions from 0, evenly spread; all of them for None."""
    if most is None or most >= count:
        return list(range(count))
    return [i * count // most for i in range(most)]


def spread_over_subjects(table: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """Select at most ``most`` rows, as evenly over participants as possible; deterministic.

    Every participant gives a first scan before any gives a second one. Where not all participants
    can give their next scan, those that do are evenly spread over the sorted ids.

    Args:
        table: scan_id, participant_id and any other columns.
        most: Largest number of scans; None for all.

    Returns:
        The chosen rows, sorted by scan_id, index kept.
    """
    ordered = table.sort_values("scan_id")
    if most is None or most >= len(ordered):
        return ordered
    turn = ordered.groupby("participant_id").cumcount()
    chosen: list = []
    for number in range(int(turn.max()) + 1):
        rows = ordered.index[turn == number]
        chosen += [rows[i] for i in evenly_spaced(len(rows), most - len(chosen))]
        if len(chosen) == most:
            break
    return ordered.loc[sorted(chosen, key=lambda row: ordered.at[row, "scan_id"])]


def wrong_scans(table: pd.DataFrame, seed: int) -> list[str]:
    """Assign to each row the id of a scan of another participant: a derangement of participants.

    Participants are put in a seeded random order and each is paired with the next, so every
    participant is a donor exactly once. The donor's scans are used in turn.

    Args:
        table: scan_id and participant_id of N scans.
        seed: Seed of the order.

    Returns:
        N scan ids in the order of ``table``.

    Raises:
        UserError: all rows are of one participant.
    """
    scans = table.sort_values("scan_id").groupby("participant_id")["scan_id"].agg(list)
    require(
        len(scans) >= 2,
        "The control with another subject's y_sem needs test scans of at least two subjects. "
        "Raise cohort.splits.test_fraction or evaluation.max_scans, or add subjects.",
    )
    order = scans.index[
        np.random.default_rng(derive_seed(seed, "wrong")).permutation(len(scans))
    ].tolist()
    donor = dict(zip(order, [*order[1:], order[0]], strict=True))
    turn = table.sort_values("scan_id").groupby("participant_id").cumcount()
    wrong = []
    for row, participant in table["participant_id"].items():
        others = scans[donor[participant]]
        wrong.append(others[int(turn[row]) % len(others)])
    return wrong
