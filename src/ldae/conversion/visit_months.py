"""Months since baseline of the visits of an external BIDS data set.

Sources, in this order, each for the scans that the one before left open: a column of months, the
session's label (``M012``, ``d0365``, ``bl``), dates (``acq_time`` in the table of sessions or of
scans, else a label such as ``20110512``), ages at the visits, and the fact that a subject has one
visit, which is then the baseline. Dates and ages are used where they are known for all visits of
the subject. They count from visits whose months are known, else from the first visit. Ages that two
visits share say nothing of their order and are not used.
"""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.delimited import is_there, read_tsv
from ldae.errors import UserError

DAYS_A_MONTH = 30.4375
_ISO = r"^(\d{4}-\d{2}-\d{2}|\d{8})(?:$|[T ])"
_DATE_LABEL = re.compile(r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


def months_of_visits(
    scans: pd.DataFrame, acquired: pd.Series, root: Path, section: str
) -> pd.Series:
    """Months since baseline, whole.

    Args:
        scans: One row a scan: subject, session (labels), path (relative to ``root``), months and
            age in years (NaN: unknown).
        acquired: ``acq_time`` of the table of sessions, texts; ``""``: unknown.
        root: The data set.
        section: Section of the configuration that messages name.

    Raises:
        UserError: the months of a scan are not known.
    """
    months = scans["months"].fillna(scans["session"].map(months_of_label).astype(float))
    sources = (
        ("acq_time", lambda: _dates(acquired.where(acquired != "", _acq_times(root, scans)))),
        ("dates in sessions' labels", lambda: _dates(scans["session"].where(_is_date(scans), ""))),
        ("ages", lambda: _different(scans["age"] * 12, scans["subject"])),
    )
    for name, values in sources:
        if not (lost := months.isna()).any():
            break
        months = months.fillna(_since_known(values(), months, scans["subject"]))
        if found := int((lost & months.notna()).sum()):
            logging.info("months since baseline of %d scan(s): from %s", found, name)
    one_visit = ~scans.duplicated("subject", keep=False)
    months = months.mask(months.isna() & one_visit, 0)
    lost = months.isna()
    if lost.any():
        labels = scans.loc[lost, "session"].unique()[:5]
        raise UserError(
            f"The months since baseline are not known for {lost.sum()} scan(s) of {root}: "
            f"the session(s) {', '.join(f'ses-{label}' for label in labels)} do not give them as "
            "ses-M012, ses-m12 or ses-d0365 do, and there are no dates (acq_time) or ages of all "
            f"visits of these subjects. Set {section}.columns.months to a column of the table of "
            "sessions, or add acq_time to it."
        )
    return np.floor(months + 0.5).astype(int)


def months_of_label(label: str) -> int | None:
    """Months since baseline of a session's label: M012 and m12 are 12, d0365 is 12, bl is 0."""
    if label.lower() in ("bl", "baseline"):
        return 0
    found = re.fullmatch(r"([md])(\d+)", label, re.IGNORECASE)
    if found is None:
        return None
    number = int(found[2])
    return number if found[1].lower() == "m" else int(number / DAYS_A_MONTH + 0.5)


def _is_date(scans: pd.DataFrame) -> pd.Series:
    return scans["session"].str.fullmatch(_DATE_LABEL)


def _dates(texts: pd.Series) -> pd.Series:
    """Months since 1970 of dates in ISO form, with or without a time of day; NaN for all else."""
    plain = texts.str.extract(_ISO, expand=False).str.replace("-", "")
    days = pd.to_datetime(plain, errors="coerce", format="%Y%m%d")
    return (days - pd.Timestamp(1970, 1, 1)).dt.days / DAYS_A_MONTH


def _since_known(values: pd.Series, months: pd.Series, subjects: pd.Series) -> pd.Series:
    """Values (months) counted from the visits whose months are known, else from the first visit.

    NaN for subjects of whom one value is unknown.
    """
    groups = values.groupby(subjects)
    whole = values.isna().groupby(subjects).transform("sum") == 0
    since = values - groups.transform("min")
    shift = (months - since).groupby(subjects).transform("median").fillna(0)
    return (since + shift).where(whole)


def _different(values: pd.Series, subjects: pd.Series) -> pd.Series:
    """Values of subjects who have no value twice; NaN for others."""
    shared = pd.DataFrame({"value": values, "subject": subjects}).duplicated(keep=False)
    return values.where(~shared.groupby(subjects).transform("any"))


def _acq_times(root: Path, scans: pd.DataFrame) -> pd.Series:
    """``acq_time`` of each image from BIDS's tables of scans (``sub-*_scans.tsv``)."""
    found = []
    for path in scans["path"]:
        folder = (root / path).parent.parent  # above anat
        names = (
            folder.name if folder.name.startswith("sub-") else f"{folder.parent.name}_{folder.name}"
        )
        found.append(_acq_time(folder / f"{names}_scans.tsv", f"anat/{Path(path).name}"))
    return pd.Series(found, scans.index, dtype=str)


def _acq_time(table: Path, filename: str) -> str:
    if not is_there(table):
        return ""
    rows = read_tsv(table)
    if not {"filename", "acq_time"} <= set(rows.columns):
        return ""
    mine = rows.loc[rows["filename"] == filename, "acq_time"]
    return mine.iloc[0] if len(mine) else ""
