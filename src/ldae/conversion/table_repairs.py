"""Table repairs: study-table values on which Clinica 0.12 aborts or silently empties a column.

Each function returns the repaired table and appends one sentence with counts per kind of repair to
``notes``; no sentence names a person. The faults were found by running Clinica on such rows.
"""

import re
from datetime import date
from functools import partial

import pandas as pd

from ldae.conversion.clinica_tables import MAYO, QUALITY, SCANS, STUDIES, repeat_a_row
from ldae.errors import UserError
from ldae.labels import count

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_YEAR_FIRST = re.compile(r"(\d{4})(?:([-/])(\d{1,2})\2(\d{1,2})|(\d{2})(\d{2}))(?:\.0|[ T].*)?")
_YEAR_LAST = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})(?: .*)?")
# 2-May-06, 02May2006, 2 May 2006; May 2, 2006, as spreadsheets and people write dates.
_DAY_MONTH = re.compile(r"(\d{1,2})[-/. ]*([A-Za-z]{3,9})\.?,?[-/. ]*(\d{4}|\d{2})(?: .*)?")
_MONTH_DAY = re.compile(r"([A-Za-z]{3,9})\.?[-/. ]*(\d{1,2})(?:st|nd|rd|th)?,?[-/ ]+(\d{4}|\d{2})")
VISIT2 = re.compile(r"(sc|bl|[mM]\d+|f|uns1)?")  # the VISCODE2 that Clinica can parse
PTID = re.compile(r"\d{3}_S_\d{4}")
# Allowed values, as in the schema of the scan table (workflow/schemas).
ADULT = (18, 120)  # years
MMSE = (0, 30)
CDR = (0, 0.5, 1, 2, 3)
TESLA = 7
MAX_UNREADABLE = 0.25  # of the values of a column that decides something
DATES = "dates such as 2006-05-02, 5/2/2006 or 2-May-2006"
# ADNIMERGE's DX, and words of older tables; of a change the state reached stands last.
DIAGNOSES = {"CN": "CN", "NL": "CN", "MCI": "MCI", "Dementia": "Dementia", "AD": "Dementia"}


def iso_dates(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Convert dates to ``YYYY-MM-DD`` (unreadable and blank: ``""``).

    Numbers such as 5/2/2006 are American (month first), as LONI writes them. They are day first if
    the column has a first number above 12 and no second one above 12.

    Returns:
        The dates, and a boolean series: which of them were rewritten.
    """
    distinct = values.unique()
    pairs = [match.groups()[:2] for text in distinct if (match := _YEAR_LAST.fullmatch(text))]
    first = any(int(a) > 12 for a, _ in pairs)
    second = any(int(b) > 12 for _, b in pairs)
    read = {text: _iso(text, day_first=first and not second) for text in distinct}
    found = values.map(read)
    return found.astype(str), (found != values) & (found != "")


def _iso(text: str, day_first: bool) -> str:
    """One date as ISO text, or ``""``."""
    if match := _YEAR_FIRST.fullmatch(text):
        year, month, day = match[1], match[3] or match[5], match[4] or match[6]
    elif match := _YEAR_LAST.fullmatch(text):
        day, month, year = match.groups() if day_first else (match[2], match[1], match[3])
    elif match := _DAY_MONTH.fullmatch(text):
        day, month, year = match[1], _month(match[2]), match[3]
    elif match := _MONTH_DAY.fullmatch(text):
        day, month, year = match[2], _month(match[1]), match[3]
    else:
        return ""
    try:
        # Two digits: no study of ADNI is older than the century.
        return date(int(year) + (2000 if len(year) == 2 else 0), int(month), int(day)).isoformat()
    except ValueError:
        return ""


def _month(name: str) -> int:
    """Number of a month by its name or the first letters of it; 0: it is none."""
    found = (i for i, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()))
    return next(found, 0)


def require_readable(
    table: str, column: str, values: pd.Series, read: pd.Series, expected: str
) -> None:
    """Refuse a column of which more than the share :data:`MAX_UNREADABLE` could not be read.

    A few wrong values are blanked or left out, with a note. So many are a form that nobody
    foresaw, and leaving them out would leave out the cohort.

    Args:
        table, column: Names, for the message.
        values: The texts as they stand in the table; blank ones do not count.
        read: For each of them, whether it could be read.
        expected: What is allowed, for the message.

    Raises:
        UserError: too many could not be read; names table, column, number and an example.
    """
    filled = values != ""
    lost = filled & ~read
    if lost.sum() <= MAX_UNREADABLE * filled.sum():
        return
    example = values[lost].value_counts().index[0]
    raise UserError(
        f"{table}: {lost.sum()} of {filled.sum()} values of {column} cannot be read, such as "
        f"{example!r}; expected: {expected}. Download the table again, without opening it in a "
        "spreadsheet, or write the values so."
    )


def _leave_out(table: pd.DataFrame, bad: pd.Series, why: str, notes: list[str]) -> pd.DataFrame:
    if not bad.any():
        return table
    notes.append(f"{count(bad.sum(), 'row')} left out ({why}).")
    return table[~bad].reset_index(drop=True)


def _blank(table: pd.DataFrame, column: str, bad: pd.Series, why: str, notes: list[str]) -> None:
    if bad.any():
        table.loc[bad, column] = ""
        notes.append(f"{count(bad.sum(), 'value')} of {column} blanked ({why}).")


def _blank_outside(
    table: pd.DataFrame, column: str, bounds: tuple[int, int], notes: list[str]
) -> None:
    """Blank values that are no number within ``bounds``: one would fail the whole scan table."""
    odd = (table[column] != "") & ~_numeric(table[column]).between(*bounds)
    _blank(table, column, odd, "not a number from {} to {}".format(*bounds), notes)


def _numeric(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values, errors="coerce")


def diagnosis_reached(words: pd.Series) -> pd.Series:
    """CN, MCI or Dementia of words such as NL, AD or "MCI to Dementia"; ``""`` for others."""
    known = {word.lower(): ours for word, ours in DIAGNOSES.items()}
    last = words.str.lower().str.rsplit(" to ", n=1).str[-1].str.strip()
    return last.map(known).fillna("")


def repair_examinations(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Repair ADNIMERGE for Clinica: subjects, visit codes, dates, diagnoses, ages and MMSE."""
    leave_out = partial(_leave_out, notes=notes)
    table = table.copy()
    table["VISCODE"] = table["VISCODE"].str.lower()
    table = leave_out(
        table,
        ~table["ORIGPROT"].isin(STUDIES) | ~table["PTID"].str.fullmatch(PTID),
        "a study or subject number that Clinica does not know, such as ADNI4's",
    )
    table = leave_out(table, ~table["VISCODE"].str.fullmatch(r"bl|m\d+"), "VISCODE is no month")
    for column in ("EXAMDATE", "EXAMDATE_bl"):
        texts = table[column]
        table[column], rewritten = iso_dates(texts)
        require_readable("ADNIMERGE", column, texts, table[column] != "", DATES)
        if rewritten.any():
            notes.append(f"{count(rewritten.sum(), 'date')} of {column} written as YYYY-MM-DD.")
    table = leave_out(table, table["EXAMDATE"] == "", "no readable EXAMDATE")
    blank = table["EXAMDATE_bl"] == ""
    if blank.any():
        baseline = table[table["VISCODE"] == "bl"].set_index("PTID")["EXAMDATE"].to_dict()
        baseline |= table[~blank].drop_duplicates("PTID").set_index("PTID")["EXAMDATE_bl"].to_dict()
        table.loc[blank, "EXAMDATE_bl"] = table.loc[blank, "PTID"].map(baseline).fillna("")
        notes.append(f"{count(blank.sum(), 'EXAMDATE_bl')} filled from the subject's other rows.")
    table = leave_out(table, table["EXAMDATE_bl"] == "", "no readable EXAMDATE_bl")
    reached = diagnosis_reached(table["DX"])
    expected = "CN, MCI or Dementia"
    require_readable("ADNIMERGE", "DX", table["DX"], reached != "", expected)
    _blank(table, "DX", (reached == "") & (table["DX"] != ""), f"not {expected}", notes)
    other = table["DX"] != reached
    if other.any():
        words = ", ".join(sorted(table.loc[other, "DX"].unique()))
        notes.append(f"{count(other.sum(), 'value')} of DX in other words ({words}) translated.")
        table["DX"] = reached
    _blank_outside(table, "AGE", ADULT, notes)
    _blank_outside(table, "MMSE", MMSE, notes)
    return table.reset_index(drop=True)


def repair_scans(table: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Repair MPRAGEMETA: identifiers, field strengths (tesla) and dates.

    Returns:
        The repaired table, and the rows left out because their date cannot be read.
    """
    table = table.copy()
    texts = table["ImageUID"]
    table["ImageUID"] = texts.str.replace(r"^I|\.0$", "", regex=True)
    known = table["ImageUID"].str.fullmatch(r"\d+")
    require_readable(SCANS, "ImageUID (image_id)", texts, known, "numbers such as 40001 or I40001")
    table = _leave_out(table, ~known, "no image number", notes)
    table = _leave_out(table, table.duplicated("ImageUID"), "an image number again", notes)
    for column in ("SeriesID", "StudyID"):
        values = table[column].str.replace(r"^S|\.0$", "", regex=True)
        bad = ~values.str.fullmatch(r"\d+")
        if bad.any():  # one blank would make all identifiers of the column decimal numbers
            notes.append(f"{column} of {count(bad.sum(), 'scan')} set to 0 (blank or no number).")
        table[column] = values.mask(bad, "0")
    strength = table["MagStrength"].str.replace(r"\s*(T|tesla)$", "", regex=True, case=False)
    number = _numeric(strength).astype(float)
    bad = (strength != "") & ~((number > 0) & (number <= TESLA))
    table["MagStrength"] = number.mask(bad).map(str).replace("nan", "")
    if bad.any():
        why = f"not a number above 0 and up to {TESLA}"
        notes.append(f"{count(bad.sum(), 'value')} of MagStrength blanked ({why}).")
    texts = table["ScanDate"]
    table["ScanDate"], rewritten = iso_dates(texts)
    require_readable(SCANS, "ScanDate (image_date)", texts, table["ScanDate"] != "", DATES)
    if rewritten.any():
        notes.append(f"{count(rewritten.sum(), 'date')} of ScanDate written as YYYY-MM-DD.")
    undated = table["ScanDate"] == ""
    dated = _leave_out(table, undated, "no readable ScanDate", notes)
    return dated.reset_index(drop=True), table[undated]


def _rid(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Keep rows with an RID of ADNI1 to 3 (up to 4 digits); a blank would empty a whole column."""
    table = table.assign(RID=table["RID"].str.replace(r"\.0$", "", regex=True))
    table = _leave_out(table, ~table["RID"].str.fullmatch(r"\d+"), "no RID", notes)
    table["RID"] = table["RID"].astype(int).astype(str)
    return _leave_out(table, table["RID"].str.len() > 4, "ADNI4", notes)


def repair_quality(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Repair MRIQUALITY: RID, series, and PASS as numbers; one word would fail every series."""
    table = _rid(table, notes)
    table["LONIUID"] = "S" + table["LONIUID"].str.replace(r"^S|\.0$", "", regex=True)
    number = _numeric(table["PASS"]).notna()
    require_readable(QUALITY, "PASS", table["PASS"], number, "1 or 0")
    _blank(table, "PASS", (table["PASS"] != "") & ~number, "no number", notes)
    return table


def repair_mayo(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Repair the Mayo Clinic's table: images, quality (blank, 0: -1, not assessed), selection."""
    table = _rid(table, notes)
    table["loni_image"] = "I" + table["loni_image"].str.replace(r"^I|\.0$", "", regex=True)
    table = _leave_out(table, ~table["loni_image"].str.fullmatch(r"I\d+"), "no image number", notes)
    table = _leave_out(
        table, table.duplicated(["loni_image", "series_type"]), "an image again", notes
    )
    grade = _numeric(table["series_quality"])
    require_readable(
        MAYO, "series_quality", table["series_quality"], grade.notna(), "1 to 4, or -1"
    )
    odd = grade.isna() | (grade == 0)
    if odd.any():
        notes.append(f"{count(odd.sum(), 'verdict')} set to -1, not assessed (blank or 0).")
    table["series_quality"] = grade.mask(odd, -1).astype(int).astype(str)
    chosen = table["series_selected"].str.lower().isin(("1", "1.0", "true", "yes"))
    table["series_selected"] = chosen.map({True: "1", False: "0"})
    return table


def repair_genotypes(table: pd.DataFrame, merge: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Align APOERES with the rows of ADNIMERGE: Clinica joins them by position, not by subject."""
    table = _rid(table, notes)
    if "GENOTYPE" in table:
        pair = table["GENOTYPE"].str.extract(r"^\D*([234])\D*([234])\D*$")
    else:
        pair = table[["APGEN1", "APGEN2"]].replace(r"\.0$", "", regex=True)
    pair = pair.set_axis(["APGEN1", "APGEN2"], axis=1).fillna("")
    known = pd.concat([table["RID"], pair], axis=1)
    known = known[(known["APGEN1"] != "") & (known["APGEN2"] != "")].drop_duplicates()
    doubtful = known["RID"][known["RID"].duplicated()].unique()
    if len(doubtful):
        notes.append(f"{count(len(doubtful), 'subject')} with two genotypes: the first was taken.")
    known = known.drop_duplicates("RID").set_index("RID")
    rid = merge["PTID"].str[-4:].astype(int).astype(str)
    notes.append("Written in the rows of ADNIMERGE, since Clinica joins the two by position.")
    aligned = pd.DataFrame({"RID": rid, "PTID": merge["PTID"]})
    for column in ("APGEN1", "APGEN2"):
        aligned[column] = rid.map(known[column]).fillna("")
    return aligned


def repair_diagnoses(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Repair DXSUM: diagnoses as numbers, and a repeated row, which Clinica needs for ADNI3."""
    table = _leave_out(table.copy(), ~table["PTID"].str.fullmatch(PTID), "ADNI4, or no PTID", notes)
    numbers = {"CN": "1", "MCI": "2", "Dementia": "3", "": ""}
    texts = table["DIAGNOSIS"]
    read = diagnosis_reached(texts).map(numbers).where(_numeric(texts).isna(), texts)
    require_readable("DXSUM", "DIAGNOSIS", texts, read != "", "1, 2, 3, or CN, MCI, Dementia")
    _blank(table, "DIAGNOSIS", (texts != "") & (read == ""), "no number", notes)
    table["DIAGNOSIS"] = read
    repeated = repeat_a_row(table)
    if len(repeated) > len(table):
        notes.append("One row repeated: Clinica fails on a table in which none is.")
    return repeated


def repair_visits(name: str, table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Repair an optional table: keep rows whose subject and visit Clinica can read.

    CDR: screening serves as baseline where there is none, and CDGLOBAL must be an allowed score.
    """
    table = _rid(table, notes)
    odd = ~table["VISCODE2"].str.fullmatch(VISIT2)
    if odd.any():
        codes = ", ".join(sorted(table.loc[odd, "VISCODE2"].unique())[:8])
        table = _leave_out(table, odd, f"a VISCODE2 that Clinica cannot read: {codes}", notes)
    if name != "CDR":
        return table
    baseline = set(table.loc[table["VISCODE2"] == "bl", "RID"])
    moved = (table["VISCODE2"] == "sc") & ~table["RID"].isin(baseline)
    if moved.any():
        table.loc[moved, "VISCODE2"] = "bl"
        notes.append(f"{count(moved.sum(), 'screening row')} made baseline, for want of one.")
    if "CDGLOBAL" in table:
        odd = (table["CDGLOBAL"] != "") & ~_numeric(table["CDGLOBAL"]).isin(CDR)
        _blank(table, "CDGLOBAL", odd, "not 0, 0.5, 1, 2 or 3: a gap, or an error", notes)
    return table
