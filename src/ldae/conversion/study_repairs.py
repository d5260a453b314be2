"""Repairs of Clinica 0.12's other converters: tables before the conversion, and tables after it.

Each repair is of a fault on a valid download: a converter stops, or writes a value of another
person. They were found by running the converters on made-up downloads (tests/workflow/
test_studies.py). Functions append sentences with counts to ``notes``; none names a person.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pandas as pd

from ldae.conversion.studies import STUDIES
from ldae.conversion.study_download import archive_members
from ldae.conversion.table_repairs import iso_dates
from ldae.delimited import read_delimited, read_tsv
from ldae.errors import UserError
from ldae.files import write_table
from ldae.labels import count

MAX_DAYS = 365  # between a scan of OASIS-3 and the clinical visit whose values it gets
DAYS_A_YEAR = 365.25
DAYS_A_MONTH = DAYS_A_YEAR / 12
PET = ("av45", "flute", "pib")  # tracers of AIBL
_PET_COLUMNS = 36  # that the converter reads of a table of AIBL's PET scans
_NIFD_NUMBER = r"I\d{6}"  # of an image, as the converter reads it
_OASIS3_SCORES = (
    "MMSE", "CDRTOT", "CDRSUM", "commun", "dx1", "homehobb", "judgment", "memory", "orient",
    "perscare",
)  # fmt: skip
# Errors of a converter (part of the last line) -> what they mean.
ERRORS = {
    "genfi": {
        "Provided list is empty": (
            "it cannot convert a download of GENFI without diffusion series. Download the DWI series "
            "of at least one visit as well"
        )
    },
    "nifd": {
        "Clinical data not found": "the Excel file does not have LONI_ID first and VISIT_NUMBER fifth"
    },
}


def link_tables(found: dict[str, Path], folder: Path) -> None:
    """Link tables into ``folder``, under the names that Clinica looks for."""
    for name, path in found.items():
        (folder / name).symlink_to(path.resolve())


# --- Before the conversion ---------------------------------------------------------------------


def tables_of_aibl(found: dict[str, Path], images: Path, folder: Path, notes: list[str]) -> None:
    """Write AIBL's tables so that Clinica does not stop at them, or join them wrongly.

    A visit that a table has twice, or a date other than month/day/year, stops it. Genotypes are
    joined by row number, so they are written in the rows of the demographic table. Tables of PET
    scans are demanded, also without any: empty ones are written, and PET is not converted.
    """
    tables = {name: _read_csv(path) for name, path in found.items()}
    people = tables["aibl_ptdemog_0.csv"]["RID"]
    for name, table in tables.items():
        if "VISCODE" in table and "apoeres" not in name and "ptdemog" not in name:
            again = table.duplicated(["RID", "VISCODE"])
            if again.any():
                notes.append(f"{name}: {count(int(again.sum()), 'row')} of a visit again left out.")
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
        table.to_csv(folder / name, index=False)
    for tracer in PET:
        columns = ["RID", "SITEID", "VISCODE", "EXAMDATE"]
        columns += [f"COLUMN{number}" for number in range(len(columns), _PET_COLUMNS)]
        pd.DataFrame(columns=columns).to_csv(folder / f"aibl_{tracer}meta_0.csv", index=False)


def tables_of_oasis3(found: dict[str, Path], images: Path, folder: Path, notes: list[str]) -> None:
    """Write tables of OASIS-3 from which Clinica names the images, and nothing else.

    Clinica joins clinical visits to scans by the half-year alone and not by the person, so each
    scan would get the scores of anybody. :func:`finish_oasis3` reads them from the download.

    Images of a second MR session in one half-year are left out: both have one name.
    """
    people = _read_csv(found["OASIS3_demographics.csv"])
    kept = ["OASISID", "AgeatEntry"]
    people[kept].assign(EDUC="", APOE="", GENDER="", HAND="").to_csv(
        folder / "OASIS3_demographics.csv", index=False
    )
    keys = {"OASISID": people["OASISID"], "days_to_visit": 0, "age at visit": people["AgeatEntry"]}
    visits = pd.DataFrame(keys)
    visits.to_csv(folder / "OASIS3_UDSb1_physical_eval.csv", index=False)
    visits.assign(**dict.fromkeys(_OASIS3_SCORES, "")).to_csv(
        folder / "OASIS3_UDSb4_cdr.csv", index=False
    )
    columns = ["label", "Manufacturer", "ManufacturersModelName", "MagneticFieldStrength"]
    pd.DataFrame([["none"] * 4], columns=columns).to_csv(folder / "OASIS3_MR_json.csv", index=False)
    first: dict[tuple[str, int], str] = {}
    lost = 0
    for session in sorted(images.iterdir(), key=lambda path: _oasis3_day(path.name)):
        subject = session.name.split("_")[0]
        half = round(_oasis3_day(session.name) / (DAYS_A_YEAR / 2))
        if first.setdefault((subject, half), session.name) != session.name:
            for path in session.rglob("*.*"):
                lost += path.name.endswith(".nii.gz")
                path.unlink(missing_ok=True)
    if lost:
        notes.append(
            f"{count(lost, 'image')} of a second MR session in one half-year left out: Clinica "
            "gives both one name."
        )
    known = set(people["OASISID"])
    unknown = {path.name.split("_")[0] for path in images.iterdir()} - known
    if unknown:
        notes.append(
            f"{count(len(unknown), 'subject')} without a row in the demographics left out."
        )


def tables_of_ukb(found: dict[str, Path], images: Path, folder: Path, notes: list[str]) -> None:
    """Link UK Biobank's table, unless two visits of a person have one age in years.

    Clinica counts months from ages in whole years, and stops where both visits are month 0.
    """
    table = _read_csv(found["ukb.csv"])
    ages = table[["21003-2.0", "21003-3.0"]].apply(pd.to_numeric, errors="coerce")
    both = {path.name.split("_")[0] for path in images.glob("*_20252_3_*.zip")}
    both &= {path.name.split("_")[0] for path in images.glob("*_20252_2_*.zip")}
    same = set(table.loc[ages["21003-2.0"] == ages["21003-3.0"], "eid"]) & both
    for eid in same:
        for path in images.glob(f"{eid}_20252_3_*.zip"):
            path.unlink()
    if same:
        notes.append(
            f"{count(len(same), 'second image')} left out: its visit is at the same age in years as "
            "the first, and Clinica gives both one name."
        )
    link_tables(found, folder)


def tables_of_nifd(found: dict[str, Path], images: Path, folder: Path, notes: list[str]) -> None:
    """Write NIFD's list of images without those whose numbers Clinica does not read.

    It reads the first six digits of an image's number, and so joins a longer one to another image;
    a listed image without files stops it.
    """
    table = _read_csv(found["collection.csv"])
    listed = table["Image Data ID"]
    there = set()
    for path in images.rglob("NIFD*"):
        number = re.search(r"_(I\d+)\.\w+$", path.name)
        if number and number[1] in set(listed) and re.fullmatch(_NIFD_NUMBER, number[1]):
            there.add(number[1])
        else:
            path.unlink()
    odd = ~listed.str.fullmatch(_NIFD_NUMBER)
    if odd.any():
        notes.append(
            f"{count(int(odd.sum()), 'image')} left out: Clinica reads numbers of six digits alone."
        )
    gone = ~odd & ~listed.isin(there)
    if gone.any():
        notes.append(f"{count(int(gone.sum()), 'image')} left out: listed, but not downloaded.")
    table[~odd & ~gone].to_csv(folder / "collection.csv", index=False)
    link_tables({"nifd.xlsx": found["nifd.xlsx"]}, folder)


def tables_of_habs(found: dict[str, Path], images: Path, folder: Path, notes: list[str]) -> None:
    """Link HABS's tables; leave in its archives one T1-weighted image of each session.

    The converter stops where a session has two (ADNI_1X-MPRAGE and ADNI_2X-MPRAGE).
    """
    seen: set[tuple[str, str]] = set()
    again = 0
    for path in sorted(images.glob("*.zip")):
        original = path.resolve()
        path.unlink()
        kept = []
        for name, match in archive_members(STUDIES["habs"], original):
            visit = match["subject"], match["session"]
            again += visit in seen
            if visit not in seen:
                seen.add(visit)
                kept.append(name)
        if kept:
            with ZipFile(original) as source, ZipFile(path, "w") as target:
                for name in kept:
                    target.writestr(name, source.read(name))
    if again:
        notes.append(f"{count(again, 'second image')} of a session left out.")
    link_tables(found, folder)


# --- After the conversion ----------------------------------------------------------------------


def finish_aibl(bids: Path, found: dict[str, Path], notes: list[str]) -> None:
    """Add ``apoe4``, the number of ε4 alleles, to AIBL's participants.tsv."""
    people = read_tsv(bids / "participants.tsv", ["participant_id", "apoe_gen1", "apoe_gen2"])
    genes = people[["apoe_gen1", "apoe_gen2"]].apply(pd.to_numeric, errors="coerce")
    alleles = (genes == 4).sum(axis=1).astype(float).where(genes.notna().all(axis=1))
    write_table(people.assign(apoe4=alleles), bids / "participants.tsv")


def finish_oasis3(bids: Path, found: dict[str, Path], notes: list[str]) -> None:
    """Write OASIS-3's tables of participants and sessions from the download.

    A session gets age and months from its day, and the scores of the same person's nearest clinical
    visit within :data:`MAX_DAYS`. The diagnosis is CN or AD where the first one (dx1) says so.
    """
    people = _read_csv(found["OASIS3_demographics.csv"]).drop_duplicates("OASISID")
    people = people.set_index("OASISID")
    scores = _read_csv(found["OASIS3_UDSb4_cdr.csv"])
    scores["day"] = pd.to_numeric(scores["days_to_visit"], errors="coerce")
    rows = []
    for path in sorted(bids.glob("sub-*/sub-*_sessions.tsv")):
        label = path.parent.name.removeprefix("sub-")
        about = people.loc[label]
        genotype = re.fullmatch(r"([234])([234])", about.get("APOE", ""))
        sex = {"1": "M", "2": "F"}.get(about.get("GENDER", ""))
        rows.append((path.parent.name, sex, genotype and genotype[0].count("4")))
        mine = scores[(scores["OASISID"] == label) & scores["day"].notna()]
        table = read_tsv(path, ["session_id", "source_session_id"])
        days = table["source_session_id"].str.removeprefix("d").astype(int)
        entry = pd.to_numeric(about["AgeatEntry"], errors="coerce")
        visits = pd.DataFrame([_nearest(mine, day) for day in days])
        new = pd.DataFrame(
            {
                "session_id": table["session_id"],
                "source_session_id": table["source_session_id"],
                "months": (days / DAYS_A_MONTH + 0.5).astype(int),
                "age": entry + days / DAYS_A_YEAR,
            }
        )
        write_table(pd.concat([new, visits], axis=1), path)
    columns = ["participant_id", "sex", "apoe4"]
    write_table(pd.DataFrame(rows, columns=columns), bids / "participants.tsv")


def _nearest(visits: pd.DataFrame, day: int) -> dict[str, object]:
    """Scores of the clinical visit nearest to a day; unknown if there is none near it."""
    away = (visits["day"] - day).abs()
    if visits.empty or away.min() > MAX_DAYS:
        return dict.fromkeys(("diagnosis", "dx1", "mmse", "cdr_global", "days_to_visit"))
    row = visits.loc[away.idxmin()]
    first = row["dx1"].strip()
    diagnosis = {"cognitively normal": "CN", "no dementia": "CN"}.get(first.lower())
    if first.lower().startswith("ad dem"):
        diagnosis = "AD"
    return {
        "diagnosis": diagnosis,
        "dx1": first or None,
        "mmse": row["MMSE"] or None,
        "cdr_global": row["CDRTOT"] or None,
        "days_to_visit": int(row["day"]),
    }


def finish_ixi(bids: Path, found: dict[str, Path], notes: list[str]) -> None:
    """Leave one row of each person in IXI's tables; give the field strength its name in BIDS.

    The Excel file has some people twice; the first row with an age stays.
    """
    path = bids / "participants.tsv"
    people = read_tsv(path, ["participant_id", "age"])
    people["participant_id"] = people["source_id"].radd("sub-")  # n/a for those without a row
    known = people["age"].map(lambda text: text not in ("", "n/a"))
    best = people.assign(known=known).sort_values("known", ascending=False, kind="stable")
    kept = best.drop_duplicates("participant_id").drop(columns="known").sort_index()
    if len(kept) < len(people):
        notes.append(f"{count(len(people) - len(kept), 'row')} of a person again left out.")
    write_table(kept, path)
    for path in sorted(bids.glob("sub-*/sub-*_sessions.tsv")):
        table = read_tsv(path, ["session_id"]).assign(session_id="ses-M000")
        write_table(table.drop_duplicates("session_id"), path)
    for path in sorted(bids.glob("sub-*/ses-*/anat/*.json")):
        about = json.loads(path.read_text())
        about["MagneticFieldStrength"] = float(about.pop("MagneticFieldStrength (T)"))
        path.write_text(json.dumps(about, indent=2) + "\n")


def finish_habs(bids: Path, found: dict[str, Path], notes: list[str]) -> None:
    """Give the columns of HABS's sessions our names."""
    names = {"diagnostic": "diagnosis", "cdr_total": "cdr_global", "mmse_total": "mmse"}
    _rename(bids.glob("sub-*/sub-*_sessions.tsv"), names)


def finish_nifd(bids: Path, found: dict[str, Path], notes: list[str]) -> None:
    """Rename NIFD's ``cdr``, which is a sum of boxes, and ages that are those at a visit."""
    _rename(bids.glob("sub-*/sub-*_sessions.tsv"), {"cdr": "cdr_sb"})
    _rename([bids / "participants.tsv"], {"age": "age_at_first_scan"})


def finish_genfi(bids: Path, found: dict[str, Path], notes: list[str]) -> None:
    """Rename GENFI's diagnosis: its words are none of ours; map it by ``columns`` and ``values``."""
    _rename(bids.glob("sub-*/sub-*_sessions.tsv"), {"diagnosis": "genfi_diagnosis"})


def finish_ukb(bids: Path, found: dict[str, Path], notes: list[str]) -> None:
    """Write UK Biobank's ages at the visits, which Clinica leaves out, into the sessions' tables.

    ``age`` of Clinica's participants.tsv is that at recruitment, years before the images.
    """
    table = _read_csv(found["ukb.csv"]).drop_duplicates("eid").set_index("eid")
    for path in sorted(bids.glob("sub-*/sub-*_sessions.tsv")):
        eid = path.parent.name.removeprefix("sub-UKB")
        rows = read_tsv(path, ["session_id", "source_sessions_number"])
        visits = rows["source_sessions_number"].str.removesuffix(".0")
        ages = [table.loc[eid, f"21003-{visit}.0"] for visit in visits]
        write_table(rows.assign(age=ages), path)
    _rename([bids / "participants.tsv"], {"age": "age_at_recruitment"})


def _rename(paths, names: dict[str, str]) -> None:
    for path in sorted(paths):
        write_table(read_tsv(path).rename(columns=names), path)


def _read_csv(path: Path) -> pd.DataFrame:
    return read_delimited(path, ",", latin1=True)[0]


def _oasis3_day(session: str) -> int:
    return int(session.rpartition("_d")[2])


Before = Callable[[dict[str, Path], Path, Path, list[str]], None]
After = Callable[[Path, dict[str, Path], list[str]], None]
BEFORE: dict[str, Before] = {
    "aibl": tables_of_aibl, "oasis3": tables_of_oasis3, "ukb": tables_of_ukb,
    "nifd": tables_of_nifd, "habs": tables_of_habs,
}  # fmt: skip
AFTER: dict[str, After] = {
    "aibl": finish_aibl, "oasis3": finish_oasis3, "ixi": finish_ixi, "habs": finish_habs,
    "nifd": finish_nifd, "genfi": finish_genfi, "ukb": finish_ukb,
}  # fmt: skip
