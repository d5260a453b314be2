"""Repairs of tables and images for Clinica 0.12's converters of other studies, before they run.

Each is of a fault on a valid download: a converter stops, loses an image, or writes a value of
another person. They were found by running the converters on made-up downloads
(tests/workflow/test_studies.py). Functions change the
:class:`~ldae.conversion.study_download.LinkedDownload` that they are given.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ldae.conversion.studies import STUDIES
from ldae.conversion.study_download import LinkedDownload, archive_members
from ldae.conversion.study_images import keep_members
from ldae.conversion.table_repairs import iso_dates
from ldae.delimited import read_delimited
from ldae.errors import require
from ldae.labels import count

DAYS_A_YEAR = 365.25
PET = ("av45", "flute", "pib")  # tracers of AIBL
_PET_COLUMNS = 36  # that the converter reads of a table of AIBL's PET scans
_NIFD_NUMBER = r"I\d{6}"  # of an image, as the converter reads it
_OASIS3_SCORES = (
    "MMSE", "CDRTOT", "CDRSUM", "commun", "dx1", "homehobb", "judgment", "memory", "orient",
    "perscare",
)  # fmt: skip
# Why an image is left out.
_SECOND_SESSION = "A second MR session in one half-year: Clinica gives both one name."
_NO_DEMOGRAPHICS = "The subject has no row in the demographics."
_UNKNOWN_AGE = (
    "The age at the first imaging visit (21003-2.0) is unknown, from which Clinica counts the "
    "months of a second."
)
_SAME_AGE = "A second visit at the same age in years as the first: Clinica gives both one name."
_LONG_NUMBER = "Clinica reads numbers of images of six digits alone."
_UNLISTED = "The list of images does not name it."
_SECOND_IMAGE = "A second image of a session, at which Clinica stops."
# Errors of a converter (part of the last line) -> what they mean.
ERRORS = {
    "genfi": {
        "Provided list is empty": (
            "it cannot convert a download of GENFI without diffusion series. Download the DWI "
            "series of at least one visit as well"
        )
    },
    "nifd": {
        "Clinical data not found": (
            "the Excel file does not have LONI_ID first and VISIT_NUMBER fifth"
        )
    },
}


def link_tables(found: dict[str, Path], folder: Path) -> None:
    """Link tables into ``folder``, under the names that Clinica looks for."""
    for name, path in found.items():
        (folder / name).symlink_to(path.resolve())


def tables_of_aibl(download: LinkedDownload) -> None:
    """Write AIBL's tables so that Clinica does not stop at them, or join them wrongly.

    A visit that a table has twice, or a date other than month/day/year, stops it. Genotypes are
    joined by row number, so they are written in the rows of the demographic table. Tables of PET
    scans are demanded, also without any: empty ones are written, and PET is not converted.
    """
    tables = {name: read_csv(path, ["RID"]) for name, path in download.found.items()}
    demographics = tables["aibl_ptdemog_0.csv"].drop_duplicates("RID")
    tables["aibl_ptdemog_0.csv"], people = demographics, demographics["RID"]
    for name, table in tables.items():
        if "VISCODE" in table and "apoeres" not in name and "ptdemog" not in name:
            again = table.duplicated(["RID", "VISCODE"])
            if again.any():
                download.notes.append(
                    f"{name}: {count(int(again.sum()), 'row')} of a visit again left out."
                )
                table = table[~again]
        if "meta" in name:  # scans: without a date they belong to no visit
            table = table[table["EXAMDATE"] != "-4"]
        if "EXAMDATE" in table:
            dates, _ = iso_dates(table["EXAMDATE"].replace("-4", ""))
            american = dates.str.replace(r"(\d+)-(\d+)-(\d+)", r"\2/\3/\1", regex=True)
            table = table.assign(EXAMDATE=american.replace("", "-4"))
        if "apoeres" in name:
            table = table.drop_duplicates("RID").set_index("RID").reindex(people).reset_index()
            table = table.fillna({"APGEN1": "-4", "APGEN2": "-4"})
        table.to_csv(download.tables / name, index=False)
    for tracer in PET:
        columns = ["RID", "SITEID", "VISCODE", "EXAMDATE"]
        columns += [f"COLUMN{number}" for number in range(len(columns), _PET_COLUMNS)]
        pd.DataFrame(columns=columns).to_csv(
            download.tables / f"aibl_{tracer}meta_0.csv", index=False
        )


def tables_of_oasis3(download: LinkedDownload) -> None:
    """Write tables of OASIS-3 from which Clinica names the images, and nothing else.

    Clinica joins clinical visits to scans by the half-year alone and not by the person, so each
    scan would get the scores of anybody. :mod:`ldae.conversion.study_finish` reads them from the
    download.

    Images of a second MR session in one half-year are left out: both have one name.
    """
    people = read_csv(download.found["OASIS3_demographics.csv"], ["OASISID", "AgeatEntry"])
    people[["OASISID", "AgeatEntry"]].assign(EDUC="", APOE="", GENDER="", HAND="").to_csv(
        download.tables / "OASIS3_demographics.csv", index=False
    )
    keys = {"OASISID": people["OASISID"], "days_to_visit": 0, "age at visit": people["AgeatEntry"]}
    visits = pd.DataFrame(keys)
    visits.to_csv(download.tables / "OASIS3_UDSb1_physical_eval.csv", index=False)
    visits.assign(**dict.fromkeys(_OASIS3_SCORES, "")).to_csv(
        download.tables / "OASIS3_UDSb4_cdr.csv", index=False
    )
    columns = ["label", "Manufacturer", "ManufacturersModelName", "MagneticFieldStrength"]
    pd.DataFrame([["none"] * 4], columns=columns).to_csv(
        download.tables / "OASIS3_MR_json.csv", index=False
    )
    first: dict[tuple[str, int], str] = {}
    sessions = [path for path in download.images.iterdir() if any(path.rglob("*.nii.gz"))]
    for session in sorted(sessions, key=lambda path: _oasis3_day(path.name)):
        subject = session.name.split("_")[0]
        half = round(_oasis3_day(session.name) / (DAYS_A_YEAR / 2))
        if first.setdefault((subject, half), session.name) != session.name:
            download.leave_out(session.rglob("*.*"), _SECOND_SESSION)
    known = set(people["OASISID"])
    for session in sessions:
        if session.name.split("_")[0] not in known:
            download.leave_out(session.rglob("*.*"), _NO_DEMOGRAPHICS)


def tables_of_ukb(download: LinkedDownload) -> None:
    """Link UK Biobank's table; leave out second images whose months Clinica cannot count.

    It counts months from ages in whole years, and stops where both visits are month 0, or where the
    age at the first is unknown.
    """
    table = read_csv(download.found["ukb.csv"], ["eid", "21003-2.0", "21003-3.0"])
    ages = table[["21003-2.0", "21003-3.0"]].apply(pd.to_numeric, errors="coerce")
    both = {path.name.split("_")[0] for path in download.images.glob("*_20252_3_*.zip")}
    both &= {path.name.split("_")[0] for path in download.images.glob("*_20252_2_*.zip")}
    same = set(table.loc[ages["21003-2.0"] == ages["21003-3.0"], "eid"]) & both
    seconds = {path.name.split("_")[0] for path in download.images.glob("*_20252_3_*.zip")}
    unknown = set(table.loc[ages["21003-2.0"].isna(), "eid"]) & seconds
    for eid in sorted(same | unknown):
        reason = _UNKNOWN_AGE if eid in unknown else _SAME_AGE
        download.leave_out(download.images.glob(f"{eid}_20252_3_*.zip"), reason)
    link_tables(download.found, download.tables)


def tables_of_nifd(download: LinkedDownload) -> None:
    """Write NIFD's list of images without those whose numbers Clinica does not read.

    It reads the first six digits of an image's number, and so joins a longer one to another image;
    a listed image without files stops it.
    """
    table = read_csv(download.found["collection.csv"], ["Image Data ID"])
    listed = table["Image Data ID"]
    numbers, there = set(listed), set()
    for path in download.images.rglob("NIFD*"):
        number = re.search(r"_(I\d+)\.\w+$", path.name)
        if number and number[1] in numbers and re.fullmatch(_NIFD_NUMBER, number[1]):
            there.add(number[1])
        else:
            odd = number and not re.fullmatch(_NIFD_NUMBER, number[1])
            download.leave_out([path], _LONG_NUMBER if odd else _UNLISTED)
    odd = ~listed.str.fullmatch(_NIFD_NUMBER)
    gone = ~odd & ~listed.isin(there)
    if gone.any():
        download.notes.append(
            f"{count(int(gone.sum()), 'image')} left out: listed, but not downloaded."
        )
    table[~odd & ~gone].to_csv(download.tables / "collection.csv", index=False)
    link_tables({"nifd.xlsx": download.found["nifd.xlsx"]}, download.tables)


def tables_of_habs(download: LinkedDownload) -> None:
    """Link HABS's tables; leave in its archives one T1-weighted image of each session.

    The converter stops where a session has two (ADNI_1X-MPRAGE and ADNI_2X-MPRAGE).
    """
    seen: set[tuple[str, str]] = set()
    for path in sorted(download.images.glob("*.zip")):
        kept = []
        for name, match in archive_members(STUDIES["habs"], path):
            visit = match["subject"], match["session"]
            if visit in seen:
                download.reasons[f"{path.name}/{name}"] = _SECOND_IMAGE
            else:
                seen.add(visit)
                kept.append(name)
        keep_members(path, kept)
    link_tables(download.found, download.tables)


def read_csv(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table of a download, values as text.

    Raises:
        UserError: it is no such table, or lacks one of ``columns``.
    """
    table = read_delimited(path, ",", latin1=True)[0]
    missing = [name for name in columns if name not in table]
    require(
        not missing,
        f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(table.columns)}. Is "
        "it the table that docs/studies.md names?",
    )
    return table


def _oasis3_day(session: str) -> int:
    return int(session.rpartition("_d")[2])


Before = Callable[[LinkedDownload], None]
BEFORE: dict[str, Before] = {
    "aibl": tables_of_aibl, "oasis3": tables_of_oasis3, "ukb": tables_of_ukb,
    "nifd": tables_of_nifd, "habs": tables_of_habs,
}  # fmt: skip
