"""Splits by subject (section 4.2 of the paper), stable when subjects come or go."""

import hashlib
from collections.abc import Iterable

import pandas as pd

from ldae.errors import UserError, require

SPLITS = ("train", "val", "test")


def make_splits(
    participants: Iterable[str], test_fraction: float, val_fraction: float, seed: int
) -> pd.DataFrame:
    """Draw the side of each subject from a hash of its identifier and the seed.

    No subject's side depends on who else is there, so adding or removing subjects moves nobody;
    the fractions hold in expectation only.

    Args:
        participants: Participant identifiers; repeats are allowed.
        test_fraction: Share of subjects in the test split.
        val_fraction: Share of the remaining subjects in the validation split.
        seed: Another seed is another split.

    Returns:
        Columns participant_id, split; sorted by participant_id.

    Raises:
        UserError: a split is empty; the message names the config key to change.
    """
    rows = []
    for participant in sorted(set(participants)):
        if _uniform(participant, "test", seed) < test_fraction:
            split = "test"
        elif _uniform(participant, "val", seed) < val_fraction:
            split = "val"
        else:
            split = "train"
        rows.append((participant, split))
    table = pd.DataFrame(rows, columns=["participant_id", "split"])
    remedies = {
        "test": f"raise cohort.splits.test_fraction ({test_fraction:g})",
        "val": f"raise cohort.splits.val_fraction ({val_fraction:g})",
        "train": "lower cohort.splits.test_fraction and cohort.splits.val_fraction "
        f"({test_fraction:g}, {val_fraction:g})",
    }
    for split, remedy in remedies.items():
        require(
            (table["split"] == split).any(),
            f"The {split} split has none of the {len(table)} subjects: {remedy}, add subjects, or "
            f"change cohort.splits.seed ({seed}).",
        )
    return table


def _uniform(participant: str, purpose: str, seed: int) -> float:
    """A number in [0, 1) from the hash of a subject, a purpose and the seed."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{participant}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def assert_disjoint(table: pd.DataFrame) -> None:
    """Refuse a table of subjects or scans in which a subject is on two sides.

    Args:
        table: Columns participant_id and split; any number of rows a subject.

    Raises:
        UserError: a subject is in two splits, or a split is not train, val or test.
    """
    unknown = sorted(set(table["split"].fillna("n/a")) - set(SPLITS))
    if unknown:
        raise UserError(f"Unknown split(s) {', '.join(unknown)}; there are {', '.join(SPLITS)}.")
    sides = table.groupby("participant_id")["split"].agg(lambda side: sorted(set(side)))
    torn = sides[sides.map(len) > 1]
    if len(torn):
        raise UserError(
            f"{len(torn)} subject(s) are on two sides of the split, such as {torn.index[0]} "
            f"({' and '.join(torn.iloc[0])}): models would be tested on people they have seen. "
            "Make the splits again."
        )
