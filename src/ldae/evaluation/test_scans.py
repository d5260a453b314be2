"""Which test scans are evaluated, which scan stands in as the wrong one, and their fixed noise."""

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.seeds import derive_seed


def spread(count: int, most: int | None) -> list[int]:
    """At most ``most`` of ``count`` positions, evenly spread; all of them for None."""
    if most is None or most >= count:
        return list(range(count))
    return [i * count // most for i in range(most)]


def spread_over_subjects(table: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """At most ``most`` rows, as even over participants as can be; always the same ones.

    Every participant gives a first scan before any gives a second one; where even first scans are
    too many, participants evenly spread over the sorted ids are taken.

    Args:
        table: scan_id, participant_id and any other columns.
        most: Cap on the number of scans; None for no cap.

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
        chosen += [rows[i] for i in spread(len(rows), most - len(chosen))]
        if len(chosen) == most:
            break
    return ordered.loc[sorted(chosen, key=lambda row: ordered.at[row, "scan_id"])]


def wrong_scans(table: pd.DataFrame, seed: int) -> list[str]:
    """For each row the id of a scan of another participant: a derangement of participants.

    Participants are put in a seeded random order and each is paired with the next, so every
    participant is a donor exactly once. The donor's scans are used in turn.

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
