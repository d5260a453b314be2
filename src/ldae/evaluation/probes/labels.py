"""Labels of scans for a target: from the cohort's table, its visits, or a table of the user's."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ldae.errors import UserError, require
from ldae.evaluation.probes.target_table import (
    BINARY,
    CONTINUOUS,
    DIAGNOSIS,
    ORDINAL,
    SURVIVAL,
    Target,
    compared,
)

AD = "AD"
EXACT = 2**53  # float64 holds all integers up to it
SHOWN = 10  # values of a column in a message


@dataclass(frozen=True)
class Labels:
    """Labels of the scans that have one.

    Attributes:
        known: (N,) bool, the scans with a label.
        values: Of the K known ones: bool (binary), text (multiclass), rank from 0 (ordinal), float
            (continuous); (K, 2) float (survival): months, and 1 for an event.
        classes: Negative and positive class in words, all classes, or the levels in order.
    """

    known: np.ndarray
    values: np.ndarray
    classes: tuple

    def in_words(self) -> np.ndarray:
        """Class (K,) of each known scan, to count its subjects; of survival the outcome."""
        if self.values.ndim == 2:
            return np.where(self.values[:, 1] == 1, self.classes[1], self.classes[0])
        if self.values.dtype == bool:
            return np.where(self.values, self.classes[1], self.classes[0])
        return self.values


def conversion_labels(
    scans: pd.DataFrame,
    visits: pd.DataFrame,
    months: float,
    among: tuple[str, ...] = ("MCI",),
    event: str = AD,
) -> np.ndarray:
    """Label of every scan: 1 converts to AD within ``months``, 0 does not, nan is unknown.

    A scan is eligible if its visit's diagnosis is MCI and no visit up to then has AD. It is 1 if a
    later visit, at most ``months`` after it, has AD. It is 0 if none has, and a visit with a known
    diagnosis lies ``months`` or more after it. All other scans are nan, above all those whose
    follow-up is too short. An observed conversion counts however short the follow-up is. Labelled
    scans with a short follow-up are therefore all converters; report this with the numbers.

    Args:
        scans: participant_id, months, diagnosis of the N scans to label.
        visits: The same columns for every known visit, also those whose scan is excluded.
        months: ``evaluation.targets.NAME.months``.
        among, event: Diagnoses in place of MCI and AD.

    Returns:
        (N,) float64 in the order of ``scans``.
    """
    times = event_times(scans, visits, among, event)
    labels = np.full(len(scans), np.nan)
    labels[(times[:, 1] == 1) & (times[:, 0] <= months)] = 1
    # An event later than that is follow-up without one, as is a last visit.
    labels[(times[:, 2] >= months) & np.isnan(labels)] = 0
    return labels


def event_times(
    scans: pd.DataFrame, visits: pd.DataFrame, among: tuple[str, ...], event: str
) -> np.ndarray:
    """Months to the first visit with a diagnosis, of scans at risk of it.

    A scan is at risk if its visit's diagnosis is one of ``among`` and no visit up to then has the
    event.

    Args:
        scans, visits: As in :func:`conversion_labels`.
        among: Diagnoses at risk.
        event: The diagnosis.

    Returns:
        (N, 3) float64: months to the event or to the last visit, 1 for an event, months to the last
        visit; nan where the scan is not at risk.
    """
    known = visits[visits["diagnosis"].notna() & visits["months"].notna()]
    visits_of = dict(tuple(known.groupby("participant_id")))
    found = np.full((len(scans), 3), np.nan)
    columns = zip(scans["participant_id"], scans["months"], scans["diagnosis"], strict=True)
    for position, (participant, month, diagnosis) in enumerate(columns):
        if diagnosis not in among or participant not in visits_of:
            continue
        own = visits_of[participant]
        reached = own.loc[own["diagnosis"] == event, "months"]
        if (reached <= month).any():
            continue
        last = own["months"].max() - month
        first = reached.min() - month if len(reached) else last
        found[position] = first, float(len(reached) > 0), last
    return found


def labels_of(
    target: Target, scans: pd.DataFrame, visits: pd.DataFrame, joined: pd.DataFrame | None = None
) -> Labels:
    """Labels of scans.

    Args:
        target: What to predict.
        scans: Rows of N scans: participant_id, months, diagnosis, and the column of a target of the
            cohort's.
        visits: participant_id, months, diagnosis of every known visit.
        joined: For a target with a table: its columns, one row for each of the N scans (n/a where
            no row belongs to the scan).

    Raises:
        UserError: the column is missing, or its values are not what the kind needs.
    """
    if target.event is not None:
        return _of_visits(target, scans, visits)
    table = scans if joined is None else joined
    lacking = [name for name in target.columns if name not in table]
    require(
        not lacking,
        f"evaluation.targets.{target.name}: there is no column {', '.join(lacking)}; the table has "
        f"{', '.join(map(str, table.columns))}.",
    )
    column = table[target.column]
    if target.kind == SURVIVAL:
        return _of_times(target, column, table[target.time])
    if target.kind == CONTINUOUS:
        values = _numbers(target, column)
        known = ~np.isnan(values)
        return Labels(known, values[known], ())
    if target.kind == BINARY and not target.classes:
        return _of_positive(target, column)
    if target.kind == ORDINAL:
        return _of_levels(target, column)
    words = column.map(_word)
    classes = tuple(map(_word, target.classes)) or tuple(sorted(words.dropna().unique()))
    known = words.isin(classes).to_numpy()
    require(
        len(classes) >= 2,
        f"evaluation.targets.{target.name}: column {target.column} has fewer than two values "
        f"({', '.join(map(str, classes)) or 'none'}).",
    )
    values = words[known].to_numpy(dtype=str)
    return Labels(known, values == classes[1] if target.kind == BINARY else values, classes)


def require_configured_values(target: Target, table: pd.DataFrame) -> None:
    """Refuse classes and positive values of the configuration that no row has: they are misspelt.

    A diagnosis of the cohort is no misspelling: the schema names them, and a cohort may lack one.
    A column without any value is left to the note on too few subjects.

    Args:
        target: What to predict.
        table: The cohort's columns, or those of the target's table, one row for each scan.

    Raises:
        UserError: a class or a positive value is in no row.
    """
    values = target.positive if isinstance(target.positive, tuple) else target.classes
    if not values or (target.column == DIAGNOSIS and not target.joined):
        return
    found = sorted(set(table[target.column].map(_word).dropna()))
    lost = [str(one) for one in map(_word, values) if one not in found]
    require(
        not lost or not found,
        f"evaluation.targets.{target.name}: no scan has the value(s) {', '.join(lost)} of column "
        f"{target.column}, which holds {', '.join(found[:SHOWN])}"
        f"{', ...' if len(found) > SHOWN else ''}; correct "
        f"{'positive' if isinstance(target.positive, tuple) else 'classes'}, or remove them there.",
    )


def as_words(column: pd.Series) -> pd.Series:
    """A column of classes as text, as :attr:`Labels.classes` are; n/a stays nan."""
    return column.map(_word)


def _word(value: object) -> object:
    """A class as text, with one text for each number: ``2`` for 2, 2.0, and the text "2.0".

    A column of integers with gaps is read as 2.0, and all values of a user's table are text.
    Numbers are not rounded, so that two that differ stay two classes.
    """
    if pd.isna(value):
        return np.nan
    text = str(value)
    try:
        number = math.nan if "_" in text else float(text)
    except ValueError:
        return text
    if not abs(number) < EXACT:  # nan, too
        return text
    return str(int(number)) if number.is_integer() else repr(number)


def _numbers(target: Target, column: pd.Series) -> np.ndarray:
    """A column as float64; n/a is nan.

    Raises:
        UserError: a value is no number.
    """
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    wrong = column[np.isnan(values) & column.notna().to_numpy()]
    require(
        wrong.empty,
        f"evaluation.targets.{target.name}: column {column.name} holds {len(wrong)} value(s) that "
        f"are no numbers, such as {wrong.iloc[0] if len(wrong) else ''!r}. Write n/a for a missing "
        "one.",
    )
    return values


def _of_visits(target: Target, scans: pd.DataFrame, visits: pd.DataFrame) -> Labels:
    assert target.event is not None
    if target.kind == BINARY:
        assert target.months is not None  # checked with the table of targets
        labels = conversion_labels(scans, visits, target.months, target.among, target.event)
        known = ~np.isnan(labels)
        return Labels(known, labels[known] == 1, target.outcomes)
    times = event_times(scans, visits, target.among, target.event)[:, :2]
    return _survival(target, times)


def _of_times(target: Target, event: pd.Series, time: pd.Series) -> Labels:
    times = np.column_stack([_numbers(target, time), _numbers(target, event)])
    known = ~np.isnan(times).any(axis=1)
    require(
        set(times[known, 1]) <= {0.0, 1.0} and bool((times[known, 0] >= 0).all()),
        f"evaluation.targets.{target.name}: column {target.column} must be 1 (event) or 0 (none), "
        f"and {target.time} no negative time.",
    )
    return _survival(target, times)


def _survival(target: Target, times: np.ndarray) -> Labels:
    """Times cut at the longest follow-up; scans without any follow-up have no label."""
    if target.months is not None:
        late = times[:, 0] > target.months
        times = np.where(late[:, None], [target.months, 0.0], times)
    known = times[:, 0] > 0
    return Labels(known, times[known], ("no event", "event"))


def _of_positive(target: Target, column: pd.Series) -> Labels:
    assert target.positive is not None
    if isinstance(target.positive, str):
        found = compared(target.positive)
        assert found is not None  # checked with the table of targets
        above, bound = found
        values = _numbers(target, column)
        known = ~np.isnan(values)
        return Labels(known, above(values[known], bound), target.outcomes)
    words, positive = column.map(_word), [_word(one) for one in target.positive]
    known = words.notna().to_numpy()
    return Labels(known, words[known].isin(positive).to_numpy(), target.outcomes)


def _of_levels(target: Target, column: pd.Series) -> Labels:
    words = column.map(_word)
    levels = tuple(_word(one) for one in target.classes)
    if not levels:
        numbers = np.unique(_numbers(target, column))
        levels = tuple(_word(one) for one in numbers[~np.isnan(numbers)])
    if len(levels) < 2:
        raise UserError(
            f"evaluation.targets.{target.name}: an ordinal target needs two levels or more; column "
            f"{target.column} has {', '.join(map(str, levels)) or 'none'}."
        )
    known = words.isin(levels).to_numpy()
    rank = {level: place for place, level in enumerate(levels)}
    return Labels(known, words[known].map(rank).to_numpy(dtype=float), levels)
