"""Finished tables of a study that Clinica 0.12 converted: values that it left out or misnamed.

Functions append sentences with counts to ``notes``; none names a person.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from ldae.conversion.study_repairs import DAYS_A_YEAR, read_csv
from ldae.conversion.visit_months import DAYS_A_MONTH
from ldae.delimited import read_tsv
from ldae.files import write_table
from ldae.labels import count

MAX_DAYS = 365  # between a scan of OASIS-3 and the clinical visit whose values it gets
# Starts of OASIS-3's dx1 that mean dementia of Alzheimer's type.
_AD = ("ad dem", "dat")


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
    people = read_csv(found["OASIS3_demographics.csv"]).drop_duplicates("OASISID")
    people = people.set_index("OASISID")
    scores = read_csv(
        found["OASIS3_UDSb4_cdr.csv"], ["OASISID", "days_to_visit", "dx1", "MMSE", "CDRTOT"]
    )
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
    words = first.lower()
    diagnosis = {"cognitively normal": "CN", "no dementia": "CN"}.get(words)
    if words.startswith(_AD) and "cannot be primary" not in words:
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
    """Rename GENFI's diagnosis: none of its words are ours; the configuration has to map it."""
    _rename(bids.glob("sub-*/sub-*_sessions.tsv"), {"diagnosis": "genfi_diagnosis"})


def finish_ukb(bids: Path, found: dict[str, Path], notes: list[str]) -> None:
    """Write UK Biobank's ages at the visits, which Clinica leaves out, into the sessions' tables.

    ``age`` of Clinica's participants.tsv is that at recruitment, years before the images.
    """
    table = read_csv(found["ukb.csv"]).drop_duplicates("eid").set_index("eid")
    for path in sorted(bids.glob("sub-*/sub-*_sessions.tsv")):
        eid = path.parent.name.removeprefix("sub-UKB")
        rows = read_tsv(path, ["session_id", "source_sessions_number"])
        visits = rows["source_sessions_number"].str.removesuffix(".0")
        ages = [table.loc[eid, f"21003-{visit}.0"] for visit in visits]
        write_table(rows.assign(age=ages), path)
    _rename([bids / "participants.tsv"], {"age": "age_at_recruitment"})


def _rename(paths: Iterable[Path], names: dict[str, str]) -> None:
    for path in sorted(paths):
        write_table(read_tsv(path).rename(columns=names), path)


After = Callable[[Path, dict[str, Path], list[str]], None]
AFTER: dict[str, After] = {
    "aibl": finish_aibl, "oasis3": finish_oasis3, "ixi": finish_ixi, "habs": finish_habs,
    "nifd": finish_nifd, "genfi": finish_genfi, "ukb": finish_ukb,
}  # fmt: skip
