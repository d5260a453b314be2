"""Few labels: the labelled training scans of so many people of each class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ldae.seeds import derive_seed

ALL = "all"


def rows_of_people(
    index: pd.DataFrame, rows: np.ndarray, classes: Sequence[str], people: int | str, seed: int
) -> np.ndarray:
    """The rows that belong to so many people of each class, by their diagnosis.

    The people of a smaller number are among those of a larger one. A person belongs to the class of
    the first of his or her rows; all his or her rows are taken, each with its own diagnosis.

    Args:
        index: Scans of the store: participant_id, diagnosis.
        rows: Its rows with a label, (N,).
        classes: The diagnoses.
        people: Of each class; ``all``, or more than there are: all people.
        seed: Of the draw.
    """
    if people == ALL:
        return rows
    mine = index.loc[rows]
    first = mine.drop_duplicates("participant_id").set_index("participant_id")["diagnosis"]
    chosen: list[str] = []
    for name in classes:
        members = first.index[first == name]
        chosen += sorted(members, key=lambda one: derive_seed(seed, "few labels", one))[:people]
    return rows[mine["participant_id"].isin(chosen).to_numpy()]
