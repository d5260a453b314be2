"""Column mapping: tables of an external BIDS data set, translated to our columns and values."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.conversion.visit_months import months_of_visits
from ldae.delimited import is_there, read_tsv
from ldae.errors import UserError, require
from ldae.files import MISSING

# Our columns of a visit, and of a subject, in the order of the scan table.
VISIT = ("months", "age", "diagnosis", "mmse", "cdr_global")
SUBJECT = ("sex", "apoe4")
# Columns to try where the configuration names none; for other values the column of our name.
_SAME_NAME = {"mmse": ("mmse", "MMSE")}
_TEXTS = {"diagnosis": ("CN", "MCI", "AD"), "sex": ("M", "F")}
_LEVELS = {"cdr_global": (0, 0.5, 1, 2, 3), "apoe4": (0, 1, 2)}
_RANGES = {
    "months": (0, 1200), "age": (18, 120), "age_baseline": (18, 120), "mmse": (0, 30),
    "field_strength": (0.01, 7),
}  # fmt: skip
_OF_VISIT_ALONE = {
    "months": "a visit's, so its column must be in the table of sessions",
    "age": "that at the visit; for the age at baseline set {section}.columns.age_baseline",
}


def read_visits(
    root: Path, scans: pd.DataFrame, columns: Mapping[str, str], values: Mapping, section: str
) -> pd.DataFrame:
    """Read the clinical data of scans from participants.tsv and the tables of sessions.

    A value is read from the table of sessions (``sub-*/sub-*_sessions.tsv``, else
    ``sessions.tsv``), else from participants.tsv. Months since baseline: see
    :mod:`ldae.conversion.visit_months`. Age is that at the visit, else age at baseline plus months.

    A number that is not allowed becomes unknown, with a warning. If half or more of a column's
    values are such numbers, the column is refused. Months are never taken as unknown. In a data
    set with one visit a subject a column ``age`` of participants.tsv is the age.

    Args:
        root: The data set.
        scans: Columns subject and session: labels without ``sub-`` and ``ses-``, one row a scan;
            path of the image, relative to ``root``.
        columns: Our name -> the data set's column; ``cohort.columns`` of the configuration.
        values: Our name -> {the data set's value: ours, or None where it means "unknown"}.
        section: Section of the configuration that messages name.

    Returns:
        Rows of ``scans`` with columns ``VISIT`` (age in years), ``SUBJECT`` and field_strength
        (tesla); months are integers, other numbers floats (NaN: unknown), texts None where
        unknown.

    Raises:
        UserError: a mapped column does not exist, values are not allowed, an unmapped column
            ``age`` is ambiguous, or months are unknown.
    """
    tables = _Tables(root, scans, columns, section)
    reader = _Values(values, section)
    names = (*VISIT, "age_baseline", *SUBJECT, "field_strength")
    found = {name: reader(name, tables.column(name)) for name in names}
    reader.refuse(root)
    table = scans.assign(**found)
    table["months"] = months_of_visits(table, tables.acquired(), root, section)
    at_baseline = table.pop("age_baseline")
    tables.require_age(table["age"], at_baseline)
    table["age"] = table["age"].fillna((at_baseline + table["months"] / 12).round(3))
    return table


class _Tables:
    """Rows of both tables for each scan, and look-up of the columns that hold our values."""

    def __init__(self, root: Path, scans: pd.DataFrame, columns: Mapping[str, str], section: str):
        self._root, self._columns, self._section = root, columns, section
        self._length = len(scans)
        # In the data set, whichever of its sessions a filter has left.
        sessions = (len(list(root.glob(f"sub-{name}/ses-*"))) for name in scans["subject"].unique())
        self._one_visit = not scans["subject"].duplicated().any() and max(sessions, default=0) < 2
        path = root / "participants.tsv"
        of_subject = read_tsv(path, ["participant_id"]) if is_there(path) else None
        self._subject = self._rows(of_subject, scans, ["subject"], path)
        of_visit, path = _sessions(root, scans["subject"].unique())
        self._visit = self._rows(of_visit, scans, ["subject", "session"], path)

    def column(self, name: str) -> pd.Series:
        """Texts of our value ``name``, one per scan; empty where there is none."""
        wanted = self._columns.get(name)
        if name == "age" and self._is_age_of_the_visit():
            logging.info("age: column 'age' of participants.tsv: each subject has one visit")
            texts = self._visit.get("age", pd.Series("", range(self._length), dtype=object))
            return texts.where(~texts.isin(["", MISSING]), self._subject["age"])
        for column in [wanted] if wanted else _SAME_NAME.get(name, (name,)):
            if column in self._visit:
                return self._logged(name, column, self._visit, "the table of sessions")
            if column in self._subject and name not in _OF_VISIT_ALONE:
                return self._logged(name, column, self._subject, "participants.tsv")
        if wanted:
            key = f"{self._section}.columns.{name}"
            if wanted in self._subject:
                why = _OF_VISIT_ALONE[name].format(section=self._section)
                raise UserError(
                    f"{key}: {wanted!r} is a column of participants.tsv, but {name} is {why}."
                )
            raise UserError(
                f"{key}: the data set {self._root} has no column {wanted!r}; the table of sessions "
                f"has {_listed(self._visit)}, participants.tsv has {_listed(self._subject)}."
            )
        return pd.Series("", range(self._length), dtype=object)

    def _is_age_of_the_visit(self) -> bool:
        """Whether ``age`` of participants.tsv is the age at the visit: each subject has only one.

        Whatever the months of that visit are.
        """
        configured = {"age", "age_baseline"} & set(self._columns)
        return self._one_visit and not configured and "age" in self._subject

    def acquired(self) -> pd.Series:
        """Texts of the column ``acq_time`` of the table of sessions; empty where there is none."""
        empty = pd.Series("", range(self._length), dtype=object)
        return self._visit.get("acq_time", empty).replace(MISSING, "")

    def require_age(self, age: pd.Series, at_baseline: pd.Series) -> None:
        """Refuse to ignore a column `age` of participants.tsv: its meaning must be configured."""
        if age.isna().all() and at_baseline.isna().all() and "age" in self._subject:
            raise UserError(
                f"{self._root}/participants.tsv has a column 'age', which may be the age at "
                f"baseline or not. If it is, set {self._section}.columns.age_baseline: age; if "
                f"not, name the right column there or in {self._section}.columns.age."
            )

    @staticmethod
    def _logged(name: str, column: str, table: pd.DataFrame, where: str) -> pd.Series:
        logging.info("%s: column %r of %s", name, column, where)
        return table[column]

    def _rows(
        self, table: pd.DataFrame | None, scans: pd.DataFrame, keys: list[str], path: Path
    ) -> pd.DataFrame:
        """Row of each scan as texts; empty where there is none."""
        if table is None:
            return pd.DataFrame(index=range(self._length))
        ids = {"subject": "participant_id", "session": "session_id"}
        for key in keys:
            prefix = f"{key[:3]}-"
            table = table.assign(**{ids[key]: table[ids[key]].str.removeprefix(prefix)})
        table = table.rename(columns={ids[key]: key for key in keys})
        table = table.merge(scans[keys].drop_duplicates(), on=keys)
        twice = table.loc[table.duplicated(keys), keys].agg(" ".join, axis=1)
        if len(twice):
            raise UserError(
                f"{path} has {len(twice)} {' and '.join(keys)} twice, such as {twice.iloc[0]}. "
                "Leave one row of each."
            )
        require(
            len(table) > 0,
            f"{path} has no row for any scan's {' and '.join(keys)}, such as "
            f"{' '.join(scans[keys].iloc[0])}. Do its identifiers differ from the folders'?",
        )
        logging.info("%s: rows for %d %s(s) with scans", path, len(table), " and ".join(keys))
        rows = scans[keys].merge(table, on=keys, how="left").drop(columns=keys)
        return rows.fillna("").reset_index(drop=True)


class _Values:
    """Translation of texts into our values; faults are collected and raised together."""

    def __init__(self, values: Mapping, section: str):
        self._values, self._section = values, section
        self._faults: list[str] = []

    def __call__(self, name: str, texts: pd.Series) -> pd.Series:
        known = {_key(value): ours for value, ours in self._values.get(name, {}).items()}
        translated: dict[str, str | float | None] = {}
        strange, outside = [], []
        for text in sorted(set(texts)):
            ours = None if text in ("", MISSING) else known.get(_key(text), text)
            translated[text] = value = None if ours is None else _ours(name, str(ours))
            if ours is not None and value is None and ours == text and _is_outlier(name, text):
                outside.append(text)
            elif ours is not None and value is None:
                strange.append(f"{text!r}" + (f" (mapped to {ours!r})" if ours != text else ""))
        # A column of the wrong meaning or unit is refused, a rare wrong value is not.
        if 2 * texts.isin(outside).sum() >= (~texts.isin(["", MISSING])).sum():
            strange = sorted([*strange, *map(repr, outside)])
        elif outside:
            logging.warning(
                "%s: %s of %d scan(s) is taken as unknown; allowed: %s",
                name, ", ".join(outside), texts.isin(outside).sum(), _allowed(name),
            )  # fmt: skip
        if strange:
            self._faults.append(
                f"{name}: {', '.join(strange)}; allowed: {_allowed(name)}; "
                f"set {self._section}.values.{name}"
            )
        result = texts.map(translated)
        if name in _TEXTS:
            return result.astype(object).where(result.notna(), None)
        return result.astype(float)

    def refuse(self, root: Path) -> None:
        if self._faults:
            faults = "\n  ".join(self._faults)
            raise UserError(
                f"Values in the tables of {root} are not allowed:\n  {faults}\n"
                "Map each such value to an allowed one, or to null where it means unknown."
            )


def _ours(name: str, text: str) -> str | float | None:
    """Parse a text as one of our values; None if it is not allowed."""
    if name in _TEXTS:
        return text if text in _TEXTS[name] else None
    try:
        number = float(text)
    except ValueError:
        return None
    if name in _LEVELS:
        return number if number in _LEVELS[name] else None
    low, high = _RANGES[name]
    return number if low <= number <= high else None


def _is_outlier(name: str, text: str) -> bool:
    """Whether a text that is not allowed is a number. False for months: they are not guessed."""
    return name not in _TEXTS and name != "months" and isinstance(_key(text), float)


def _allowed(name: str) -> str:
    levels = _TEXTS.get(name) or _LEVELS.get(name)
    if levels:
        return ", ".join(map(str, levels))
    low, high = _RANGES[name]
    return f"numbers from {low:g} to {high:g}"


def _key(value) -> str | float:
    """Key by which values are compared: numbers by value (1 is 1.0), others by text."""
    text = str(value)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if np.isfinite(number) else text


def _sessions(root: Path, subjects: np.ndarray) -> tuple[pd.DataFrame | None, Path]:
    """Read all tables of sessions as one (None if there is none), with the path for messages."""
    parts = []
    for subject in subjects:
        path = root / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
        if is_there(path):
            parts.append(read_tsv(path, ["session_id"]).assign(participant_id=subject))
    if parts:
        return pd.concat(parts).fillna(""), root / "sub-*/sub-*_sessions.tsv"
    path = root / "sessions.tsv"
    return (read_tsv(path, ["participant_id", "session_id"]) if is_there(path) else None), path


def _listed(table: pd.DataFrame) -> str:
    return ", ".join(map(repr, table.columns)) or "none"
