"""Groups of scans: the values of a column, as names that tables show, and which are large enough.

A column is one of the acquisition table (site, phase, vendor, ...) or of the scan table (sex, age,
...). Numbers of many values, such as ages, are cut at the terciles of the training people.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.evaluation.probes.features import TEST, TRAINING
from ldae.evaluation.probes.labels import as_words
from ldae.labels import count, number

MOST_VALUES = 6  # of a column of numbers; one with more is cut at its terciles
UNITS = {"field_strength": "T", "age": "years", "education": "years"}


@dataclass(frozen=True)
class Groups:
    """Scans by the values of a column.

    Attributes:
        column: Its name.
        value: (N,) name of each scan's group; None: not known, or its group is too small.
        names: Groups that are large enough, in order.
        unknown: Number of scans without a value.
        small: Groups that are too small.
        note: Why there are no two groups; empty: there are.
    """

    column: str
    value: np.ndarray
    names: tuple[str, ...]
    unknown: int
    small: tuple[str, ...] = ()
    note: str = ""

    @property
    def known(self) -> np.ndarray:
        """Mask (N,) of the scans of a group that is large enough."""
        return np.array([value is not None for value in self.value])


def column_of(name: str, table: pd.DataFrame, *others: pd.DataFrame) -> pd.Series:
    """Values of a column for the scans of ``table``, from the first table that has it.

    Args:
        name: The column.
        table: The scans: scan_id, in order.
        others: Tables with scan_id; those before have precedence.

    Raises:
        UserError: no table has the column, or a scan has no row.
    """
    for other in others:
        if name in other:
            found = other.set_index("scan_id")[name]
            lost = sorted(set(table["scan_id"]) - set(found.index))
            require(
                not lost,
                f"{len(lost)} scan(s), the first is {lost[0] if lost else ''}, have no row in the "
                f"table with the column {name}. Delete results/cohort/acquisitions.tsv, so that it "
                "is made again for the present scans.",
            )
            return found.loc[table["scan_id"]].reset_index(drop=True)
    known = dict.fromkeys(column for other in others for column in other)
    require(
        False,
        f"evaluation.scanner and evaluation.fairness name the column {name}, which no table of "
        f"scans has; there are {', '.join(known)}.",
    )
    raise AssertionError  # require has raised


def named_groups(name: str, values: pd.Series, table: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Name of each scan's group, None where the value is not known; and all names in order.

    Args:
        name: The column.
        values: Its values (N,).
        table: participant_id and split of the N scans, whose training people give the terciles.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    unit = f" {UNITS[name]}" if name in UNITS else ""
    if numbers.notna().sum() == values.notna().sum() and numbers.nunique() > MOST_VALUES:
        return _terciles(numbers.to_numpy(float), table, unit)
    words = as_words(values)
    order = sorted(words.dropna().unique(), key=lambda one: (_size(one), one))
    found = [None if pd.isna(word) else f"{word}{unit}" for word in words]
    return np.array(found, dtype=object), [f"{one}{unit}" for one in order]


def _size(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("inf")


def _terciles(values: np.ndarray, table: pd.DataFrame, unit: str) -> tuple[np.ndarray, list[str]]:
    training = (table["split"].isin(TRAINING) & ~table.duplicated("participant_id")).to_numpy()
    known = values[training & ~np.isnan(values)]
    cuts = np.unique(
        np.quantile(known if len(known) else values[~np.isnan(values)], [1 / 3, 2 / 3])
    )
    words = _cut_names(cuts)
    names = [f"up to {words[0]}{unit}"]
    names += [f"{low} to {high}{unit}" for low, high in pairwise(words)]
    names += [f"over {words[-1]}{unit}"]
    place = np.searchsorted(cuts, values)
    found = [None if np.isnan(v) else names[p] for v, p in zip(values, place, strict=True)]
    return np.array(found, dtype=object), names


def _cut_names(cuts: np.ndarray) -> list[str]:
    """Text of the cuts: whole ones as they are, others with decimals enough to tell them apart."""
    least = np.min(np.append(np.diff(cuts), np.abs(cuts[cuts != 0])), initial=1.0)
    digits = 1 - math.floor(math.log10(least))  # a tenth of the distance
    return [number(cut, 0 if float(cut).is_integer() else digits) for cut in cuts]


def large_groups(
    name: str,
    values: pd.Series,
    table: pd.DataFrame,
    least: int,
    splits: Sequence[Collection[str]] = (TRAINING, (TEST,)),
    least_test: int = 1,
) -> Groups:
    """Groups of a column with people enough in training and in test.

    Args:
        name: The column.
        values: Its values (N,).
        table: participant_id and split of the N scans.
        least: Fewest people of a group in the first of ``splits``.
        splits: Names of the splits in which a group must have people.
        least_test: Fewest people in the others.
    """
    value, names = named_groups(name, values, table)
    unknown = int(sum(one is None for one in value))
    people = table["participant_id"].to_numpy()
    inside = [table["split"].isin(list(part)).to_numpy() for part in splits]
    needed = [least] + [least_test] * (len(splits) - 1)
    kept = [
        one
        for one in names
        if all(
            len(set(people[part & (value == one)])) >= fewest
            for part, fewest in zip(inside, needed, strict=True)
        )
    ]
    small = tuple(one for one in names if one not in kept)
    value = np.array([one if one in kept else None for one in value], dtype=object)
    where = "in training and in test" if len(splits) > 1 else f"in {' and '.join(splits[0])}"
    note = "" if len(kept) > 1 else _why(name, len(table), unknown, names, small, where)
    return Groups(name, value, tuple(kept), unknown, small, note)


def _why(
    name: str, scans: int, unknown: int, names: list[str], small: tuple[str, ...], where: str
) -> str:
    """Why a column has no two groups that can be compared."""
    words = name.replace("_", " ")
    if not names:
        return f"no scan has a known {words}: neither tables nor sidecars give it"
    if len(names) == 1:
        rest = f"; it is not known of {count(unknown, 'scan')}" if unknown else ""
        return f"the {words} is {names[0]} in {count(scans - unknown, 'scan')}{rest}"
    return (
        f"no two values have people enough {where}; too small: "
        f"{', '.join(small[:6])}{', ...' if len(small) > 6 else ''}"
    )
