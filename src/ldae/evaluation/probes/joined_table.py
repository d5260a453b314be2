"""Join of a table of the user's, or a study table of ADNI, with scans: by subject, visit and date.

A row belongs to a scan by the first of these that the table allows:

1. column ``scan_id``: its own row;
2. ``subject`` and ``date`` (``window_days``): of the subject's rows with a value, the one whose
   date is nearest to the scan's, if it is no more than so many days away; the earlier of two;
3. columns ``participant_id`` and ``session_id``: the row of the visit;
4. ``subject`` alone: the subject's row, for all scans.

Two rows that disagree are refused, never chosen from. Subjects are named as in the scan table
(``sub-ADNI002S0413``), without ``sub-``, as ADNI's PTID (``002_S_0413``), or by ADNI's RID, the
number at the end of the PTID.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.conversion.clinica_tables import SCANS
from ldae.conversion.study_tables import find_table
from ldae.conversion.table_repairs import iso_dates
from ldae.delimited import read_delimited
from ldae.errors import UserError, require
from ldae.evaluation.probes.target_table import Target
from ldae.files import MISSING

SUBJECTS = ("participant_id", "PTID", "RID")  # columns of the subject, where none is named
NO_VALUE = ("", MISSING, "NA", "nan")
OF_ADNI = ("-4", "-4.0")  # how ADNI writes a missing value
RID_DIGITS = 4


def join_table(
    target: Target,
    path: str | Path,
    scans: pd.DataFrame,
    dates: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Columns of a table for each scan.

    Args:
        target: Names ``column``, ``time``, ``subject``, ``date`` and ``window_days``.
        path: TSV (name ends in .tsv) or CSV.
        scans: Rows of N scans: scan_id, participant_id, session_id.
        dates: Date of each scan (YYYY-MM-DD) by scan_id, for targets with ``date``.

    Returns:
        The target's columns, N rows in the order of ``scans``; n/a where no row belongs to a scan.

    Raises:
        UserError: a column is missing, two rows of one visit differ, dates of scans are not known,
            or no row belongs to any scan.
    """
    where = f"evaluation.targets.{target.name}"
    table, _ = read_delimited(path, "\t" if Path(path).suffix == ".tsv" else ",", latin1=True)
    wanted = target.columns
    subject = target.subject or next((name for name in SUBJECTS if name in table), None)
    asked = [*wanted, *([target.date] if target.date else [])]
    asked += [target.subject] if target.subject else []
    lacking = [name for name in asked if name not in table]
    require(
        not lacking,
        f"{where}: {path} has no column {', '.join(lacking)}; it has {', '.join(table.columns)}.",
    )
    missing = (*NO_VALUE, *OF_ADNI) if target.study_table else NO_VALUE
    table = table.mask(table.isin(missing))
    rows = table[table[wanted].notna().all(axis=1)]
    if "scan_id" in table:
        found = _by_key(rows, ["scan_id"], wanted, scans, where)
    else:
        require(
            subject is not None,
            f"{where}: {path} names no subject; set subject to the column of it ("
            f"{', '.join(SUBJECTS)} are found by themselves).",
        )
        assert subject is not None
        of_scan = scans["participant_id"].map(_plain)
        keyed, keys = _keyed(rows, subject, of_scan)
        if target.date:
            require(
                bool(dates),
                f"{where}.date: the dates of the scans are known only for ADNI's download. Give "
                "the table a column scan_id or session_id, or remove date and window_days.",
            )
            assert dates is not None
            days = scans["scan_id"].map(dates)
            found = _by_date(keyed, keys, days, target, wanted)
        else:
            visit = ["session_id"] if "session_id" in table else []
            known = scans.assign(_subject=keys)
            found = _by_key(keyed, ["_subject", *visit], wanted, known, where)
    require(
        bool(found.notna().any(axis=None)),
        f"{where}: no row of {path} belongs to a scan of this cohort. Subjects there are named "
        f"{', '.join(rows[subject].astype(str).head(2)) if subject else 'by scan_id'}, here "
        f"{scans['participant_id'].iloc[0]}; dates must lie within window_days.",
    )
    return found


def study_table(folder: str | Path, name: str) -> Path:
    """File of a study table of ADNI's download.

    Args:
        folder: ``paths.tables``.
        name: Its name without prefix, date and suffix, such as ``UCBERKELEY_AMY_6MM``.

    Raises:
        UserError: there is no such file, or there are several that differ.
    """
    try:
        found = find_table(Path(folder), (name,))
    except UserError as error:
        raise UserError(f"The study table {name} in {folder} {error}.") from error
    require(
        found is not None,
        f"There is no study table {name} in {folder}. Download it from the IDA (Study Files), or "
        "correct evaluation.targets.NAME.study_table.",
    )
    assert found is not None
    return found[0][0]


def scan_list(folder: str | Path) -> Path:
    """ADNI's list of scans and their dates, in the folder of prepared study tables."""
    return Path(folder) / f"{SCANS}.csv"


def scan_dates(images: str | Path, scans: pd.DataFrame) -> dict[str, str]:
    """Date (YYYY-MM-DD) of each scan of ADNI's download, by scan_id.

    Args:
        images: The list of scans (MPRAGEMETA.csv) that the conversion read: ImageUID, ScanDate.
        scans: scan_id, image_id (``I`` and the number).
    """
    table, _ = read_delimited(images, ",")
    day = dict(zip("I" + table["ImageUID"].str.lstrip("I"), table["ScanDate"], strict=True))
    known = scans["image_id"].map(day)
    return {scan: date for scan, date in zip(scans["scan_id"], known, strict=True) if date == date}


def _plain(subject: object) -> str:
    """Name of a subject in capitals and digits: of ``sub-ADNI002S0413`` and ``002_S_0413`` one."""
    text = re.sub(r"[^A-Za-z0-9]", "", re.sub(r"^sub-", "", str(subject))).upper()
    return re.sub(r"^ADNI(?=\d{3}S\d)", "", text)


def _keyed(rows: pd.DataFrame, subject: str, of_scan: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """Rows with their subject as ``_subject``, and the subject of each scan in the same form."""
    names = rows[subject].astype(str)
    if subject == "RID":
        numbers = of_scan.str.extract(rf"S(\d{{{RID_DIGITS},}})$", expand=False)
        keys = numbers.str.lstrip("0")
        return rows.assign(
            _subject=names.str.replace(r"\.0$", "", regex=True).str.lstrip("0")
        ), keys
    return rows.assign(_subject=names.map(_plain)), of_scan


def _by_key(
    rows: pd.DataFrame, keys: list[str], wanted: list[str], scans: pd.DataFrame, where: str
) -> pd.DataFrame:
    """Values of the row with the scan's keys; rows with equal values count once."""
    distinct = rows[[*keys, *wanted]].drop_duplicates()
    twice = distinct[distinct.duplicated(keys)].merge(scans[keys].drop_duplicates(), on=keys)
    require(
        twice.empty,
        f"{where}: {len(twice)} scan(s) or subject(s) have several rows that differ. Join by date "
        "(date, window_days), or add a column scan_id or session_id.",
    )
    merged = scans[keys].merge(distinct.drop_duplicates(keys), on=keys, how="left")
    return merged[wanted].reset_index(drop=True)


def _by_date(
    rows: pd.DataFrame,
    subjects: pd.Series,
    days: pd.Series,
    target: Target,
    wanted: list[str],
) -> pd.DataFrame:
    """Values of the subject's row with the nearest date within the window; the earlier of two."""
    found = pd.DataFrame(np.nan, index=range(len(subjects)), columns=wanted, dtype=object)
    written, _ = iso_dates(rows[target.date].fillna("").astype(str))
    dated = rows.assign(_day=pd.to_datetime(written.mask(written == ""), format="%Y-%m-%d"))
    dated = dated[dated["_day"].notna()].sort_values("_day", kind="stable")
    of_subject = dict(tuple(dated.groupby("_subject")))
    when = pd.to_datetime(days, errors="coerce")
    for place, (name, day) in enumerate(zip(subjects, when, strict=True)):
        mine = of_subject.get(name)
        if mine is None or pd.isna(day):
            continue
        gap = (mine["_day"] - day).abs().dt.days.to_numpy()
        nearest = int(np.argmin(gap))
        if gap[nearest] <= target.window_days:
            found.loc[place] = mine[wanted].iloc[nearest].to_numpy()
    return found
