"""Preparation of ADNI's study tables: from a download to the form that Clinica 0.12 accepts.

A download has today's names and columns or Clinica's (:mod:`ldae.conversion.study_tables`). Its
tables are converted (:mod:`ldae.conversion.loni_tables`) and repaired
(:mod:`ldae.conversion.table_repairs`). Scans on which Clinica would abort are excluded
(:mod:`ldae.conversion.clinica_exclusions`). A provenance table records all changes.
"""

import logging
import os
import shutil
from pathlib import Path

import pandas as pd

from ldae.conversion import loni_tables, table_repairs
from ldae.conversion.clinica_exclusions import COLUMNS, exclude_scans
from ldae.conversion.clinica_tables import MAYO, OTHER_IMAGES, QUALITY, SCANS, STUDIES, write_tables
from ldae.conversion.study_tables import OPTIONAL, REQUIRED, ReadTable, read_download
from ldae.files import write_table
from ldae.labels import count

PROVENANCE = ["table", "purpose", "file", "form", "rows", "repairs"]
_EMPTY = {
    QUALITY: ["RID", "LONIUID", "PASS"],
    MAYO: ["RID", "loni_image", "series_type", "series_quality", "series_selected"],
}
_log = logging.getLogger(__name__)


def prepare_tables(
    folder: str | Path, out_dir: str | Path, provenance: str | Path, exclusions: str | Path
) -> None:
    """Make the study tables that Clinica accepts from those of a download.

    Args:
        folder: The download's study tables (CSV, at any depth); only read.
        out_dir: Written anew: one ``<Clinica's name>.csv`` per table, and ``OTHER_IMAGES``: listed
            images that are not T1-weighted (image_id, description).
        provenance: Written: one row per table, columns ``PROVENANCE``. form is ``clinica`` (as
            downloaded), ``today`` (converted) or ``made`` (empty: no source); repairs are
            sentences with counts.
        exclusions: Written: images excluded from MPRAGEMETA, columns image_id, status, reason.

    Raises:
        UserError: lists all required tables that are missing, ambiguous or incomplete.
    """
    found, auxiliary = read_download(folder)
    raw_merge = found["ADNIMERGE"].table
    merge = _repair(found["ADNIMERGE"], table_repairs.repair_examinations)
    other: dict[str, str] = {}
    if found[SCANS].form == "today":
        other = loni_tables.other_images(found[SCANS])
        found[SCANS] = loni_tables.scan_list(found[SCANS], auxiliary, merge)
    for name, make in (
        (QUALITY, loni_tables.quality_from_mriqc),
        (MAYO, loni_tables.mayo_from_mriqc),
    ):
        found[name] = _quality_table(name, found.get(name), auxiliary.get("MRIQC"), make)
    scans = found[SCANS]
    scans.table, undated = table_repairs.repair_scans(scans.table, scans.notes)
    for name, repair in (
        (QUALITY, table_repairs.repair_quality),
        (MAYO, table_repairs.repair_mayo),
    ):
        _repair(found[name], repair)
    genes = found["APOERES"]
    genes.table = table_repairs.repair_genotypes(genes.table, merge, genes.notes)
    _repair(found["DXSUM_PDXCONV"], table_repairs.repair_diagnoses)
    for name in set(OPTIONAL) & set(found):
        found[name].table = table_repairs.repair_visits(name, found[name].table, found[name].notes)

    excluded = [_unreadable(undated), _unsupported(scans.table, raw_merge, merge)]
    scans.table = scans.table[~("I" + scans.table["ImageUID"]).isin(excluded[1]["image_id"])]
    scans.table, more = exclude_scans({name: item.table for name, item in found.items()})
    excluded = pd.concat([*excluded, more], ignore_index=True)
    for status, number in more["status"].value_counts().sort_index().items():
        scans.notes.append(f"{count(number, 'scan')} held back ({status}); see held_back.tsv.")

    out_dir = Path(out_dir)
    work = out_dir.with_name(f".tmp{os.getpid()}-{out_dir.name}")
    try:
        write_tables({name: item.table for name, item in found.items()}, work)
        other = pd.DataFrame(other.items(), columns=["image_id", "description"])
        write_table(other, work / OTHER_IMAGES)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        work.rename(out_dir)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if "CDR" not in found:
        _log.warning("There is no CDR table: cdr_global will be n/a at every visit.")
    write_table(_provenance(found), provenance)
    write_table(excluded, exclusions)


def _repair(found: ReadTable, repair) -> pd.DataFrame:
    found.table = repair(found.table, found.notes)
    return found.table


def _quality_table(name: str, found: ReadTable | None, mriqc: ReadTable | None, make) -> ReadTable:
    """A quality table as downloaded, else made from MRIQC, else empty (for Clinica: no ratings)."""
    if found and set(_EMPTY[name]) <= set(found.table.columns):
        return found
    made = make(mriqc) if mriqc else None
    if made:
        made.notes.append("Made of MRIQC's verdicts on T1-weighted series.")
        return made
    files = [item.files[0] for item in (found, mriqc) if item]
    note = (
        f"Made empty, for want of readable verdicts in {' and '.join(files)}: no scan will be "
        f"rejected or preferred by {REQUIRED[name].purpose}."
    )
    _log.warning("%s: %s", name, note)
    return ReadTable(pd.DataFrame(columns=_EMPTY[name], dtype=str), files, "made", [note])


def _unreadable(undated: pd.DataFrame) -> pd.DataFrame:
    """Exclusions: scans whose date cannot be read; no visit can be found for them."""
    reason = "The date of this scan cannot be read in the list of scans."
    rows = [["I" + image, "no_metadata", reason] for image in undated["ImageUID"]]
    return pd.DataFrame(rows, columns=COLUMNS)


def _unsupported(scans: pd.DataFrame, raw: pd.DataFrame, merge: pd.DataFrame) -> pd.DataFrame:
    """Exclusions: scans of subjects that lost all rows of ADNIMERGE, by study (``ORIGPROT``)."""
    study = dict(zip(raw["PTID"], raw["ORIGPROT"], strict=True))
    lost = scans[scans["SubjectID"].isin(set(study) - set(merge["PTID"]))]
    rows = []
    for image, subject in zip(lost["ImageUID"], lost["SubjectID"], strict=True):
        if study[subject] in STUDIES:
            reason = "ADNIMERGE has no row for the subject that Clinica could read."
            rows.append(["I" + image, "no_metadata", reason])
        else:
            reason = f"Clinica does not convert subjects of {study[subject] or 'no study'}."
            rows.append(["I" + image, "unsupported", reason])
    return pd.DataFrame(rows, columns=COLUMNS)


def _provenance(found: dict[str, ReadTable]) -> pd.DataFrame:
    rows = []
    for name, item in found.items():
        purpose = REQUIRED[name].purpose if name in REQUIRED else OPTIONAL[name]
        files, notes = " + ".join(item.files), " ".join(item.notes) or None
        rows.append([name, purpose, files, item.form, len(item.table), notes])
        _log.info("%s: %s (%s). %s", name, files, item.form, notes or "")
    return pd.DataFrame(rows, columns=PROVENANCE)
