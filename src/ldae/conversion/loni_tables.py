"""Converter of LONI's study tables: from today's form to the form that Clinica 0.12 reads."""

import re

import pandas as pd

from ldae.conversion.clinica_tables import STUDIES
from ldae.conversion.study_tables import FIELD_STRENGTH, IMAGE, SERIES, STUDY, ReadTable, column_of
from ldae.conversion.table_repairs import iso_dates, require_readable
from ldae.conversion.visit_codes import NOT_CONVERTED, visit_name
from ldae.labels import count

SCREENING = ("sc", "scmri")
SCAN_COLUMNS = [
    "Orig/Proc", "SubjectID", "Visit", "MagStrength", "Sequence", "ScanDate", "StudyID",
    "SeriesID", "ImageUID",
]  # fmt: skip
# All Images lists every modality: a visit with PET alone would replace one with MRI.
_T1 = re.compile(r"mp-?\s?rage|spgr|\bmpr\b|\bmt1\b|accel|gradwarp|\bn3m?\b|scaled", re.IGNORECASE)
_OTHER = re.compile(
    r"flair|\bt2|dti|dwi|\basl\b|perfusion|localiz|scout|field.?map|fmri|\bpet\b|hippocamp",
    re.IGNORECASE,
)


def numbers(values: pd.Series) -> pd.Series:
    """Identifiers as digits (``I123``, ``S123``, ``123.0`` become ``123``), else ``""``."""
    found = values.str.extract(r"^[A-Za-z]?(\d+)(?:\.0+)?$", expand=False)
    return found.fillna("").str.lstrip("0")


def scan_list(images: ReadTable, auxiliary: dict[str, ReadTable], merge: pd.DataFrame) -> ReadTable:
    """Make MPRAGEMETA from All Images, with series and field strengths from auxiliary tables.

    Clinica joins visits by name. Each visit gets the name that Clinica expects for its code and
    the study that the subject began in (ADNIMERGE). A scan without such a code becomes a visit of
    its own, named by its date; Clinica joins it with the nearest examination.

    Args:
        images: The table All Images, as read.
        auxiliary: MRIQC, Manifest and the like, as read, by LONI's names.
        merge: ADNIMERGE, repaired.

    Returns:
        MPRAGEMETA with columns ``SCAN_COLUMNS``, its files and notes. MagStrength is in tesla,
        blank if unknown.
    """
    notes = list(images.notes)
    table = images.table
    ids = numbers(table["image_id"])
    require_readable("All_Images", "image_id", table["image_id"], ids != "", "such as 40001")
    wanted = _is_t1(table)
    notes.append(
        f"Made of {count(wanted.sum(), 'row')} of T1-weighted scans; "
        f"{(~wanted).sum()} of other images were left out."
    )
    table = table[wanted].reset_index(drop=True)
    kinds = {"original": "Original", "pre-processed": "Processed", "processed": "Processed"}
    code = table["VISCODE2" if "VISCODE2" in table else "image_visit"].str.lower()
    scans = pd.DataFrame(
        {
            "Orig/Proc": table["image_type"].str.lower().map(kinds).fillna(table["image_type"]),
            "SubjectID": table["subject_id"],
            "Visit": _visits(table["subject_id"], code, table["image_date"], merge, notes),
            "MagStrength": "",
            "Sequence": table["image_description"],
            "ScanDate": table["image_date"],
            "StudyID": numbers(table["study_id"]),
            "SeriesID": "",
            "ImageUID": numbers(table["image_id"]),
        },
        columns=SCAN_COLUMNS,
    )
    files = list(images.files)
    for found in (images, *auxiliary.values()):
        used = [_fill(scans, "SeriesID", found, SERIES, (IMAGE,))]
        used += [_fill(scans, "MagStrength", found, FIELD_STRENGTH, (IMAGE, SERIES, STUDY))]
        if any(used) and found is not images:
            files += found.files
    for column, what in (("SeriesID", "series number"), ("MagStrength", "field strength")):
        if lacking := (scans[column] == "").sum():
            notes.append(f"No table gives the {what} of {count(lacking, 'scan')}.")
    return ReadTable(scans, files, "today", notes)


def other_images(images: ReadTable) -> dict[str, str]:
    """Images of All Images that are not T1-weighted: image_id to description."""
    table = images.table[~_is_t1(images.table)]
    pairs = zip(numbers(table["image_id"]), table["image_description"], strict=True)
    return {f"I{number}": text for number, text in pairs if number}


def _is_t1(table: pd.DataFrame) -> pd.Series:
    description = table["image_description"]
    return description.str.contains(_T1) & ~description.str.contains(_OTHER)


def _fill(
    scans: pd.DataFrame,
    column: str,
    found: ReadTable,
    names: tuple[str, ...],
    keys: tuple[tuple[str, ...], ...],
) -> bool:
    """Fill blanks of ``scans[column]`` from ``found``, by image, series or study.

    Returns:
        Whether any blank was filled.
    """
    source = column_of(found.table, names)
    by = {IMAGE: "ImageUID", SERIES: "SeriesID", STUDY: "StudyID"}
    before = (scans[column] == "").sum()
    for key in keys if source else ():
        if not (index := column_of(found.table, key)):
            continue
        values = found.table[source]
        values = numbers(values) if column == "SeriesID" else values
        known = dict(zip(numbers(found.table[index]), values, strict=True))
        known.pop("", None)
        filled = scans[by[key]].map(known).fillna("")
        scans[column] = scans[column].where(scans[column] != "", filled)
    return (scans[column] == "").sum() < before


def _visits(
    subjects: pd.Series, codes: pd.Series, days: pd.Series, merge: pd.DataFrame, notes: list[str]
) -> pd.Series:
    """Visit name of every image in MPRAGEMETA."""
    study = dict(zip(merge["PTID"], merge["ORIGPROT"], strict=True))
    screened = set(subjects[codes.isin(SCREENING)])
    dates, _ = iso_dates(days)
    names, unknown, baseline = [], 0, 0
    for subject, code, day in zip(subjects, codes, dates, strict=True):
        began = study.get(subject)
        if code == "bl" and subject in screened:
            names.append(NOT_CONVERTED)
            baseline += 1
        elif began in STUDIES and (code in (*SCREENING, "bl") or re.fullmatch(r"m\d+", code)):
            names.append(visit_name(began, "bl" if code in (*SCREENING, "bl") else code))
        else:
            names.append(f"{code or 'no code'} {day}")
            unknown += began in STUDIES
    if unknown:
        notes.append(
            f"{count(unknown, 'scan')} without a code of a visit in months will be joined with "
            "the examination that is nearest in time."
        )
    if baseline:
        notes.append(
            f"{count(baseline, 'scan')} of baseline visits of subjects with a screening scan were "
            f"named {NOT_CONVERTED!r}, which Clinica leaves out."
        )
    return pd.Series(names, index=subjects.index, dtype=str)


def _t1_series(mriqc: ReadTable) -> pd.DataFrame | None:
    """T1-weighted series of MRIQC: RID, image, series, rating (SeriesQC: 1 to 4; -1: not assessed).

    None if the table lacks one of the columns needed.
    """
    names = {"SeriesQC": ("seriesqc", "seriesquality"), "type": ("seriestype",)}
    names |= {"image": IMAGE, "series": SERIES, "ptid": ("participantid", "ptid")}
    columns = {name: column_of(mriqc.table, known) for name, known in names.items()}
    if not all(columns.values()):
        return None
    table = pd.DataFrame({name: mriqc.table[column] for name, column in columns.items()})
    chosen = column_of(mriqc.table, ("serieschosen", "seriesselected"))
    table["chosen"] = mriqc.table[chosen] if chosen else ""
    table = table[table["type"].str.upper().str.startswith("T1")]
    return table.assign(
        RID=numbers(table["ptid"].str.rsplit("_", n=1).str[-1]),
        image=numbers(table["image"]),
        series=numbers(table["series"]),
    )


def quality_from_mriqc(mriqc: ReadTable) -> ReadTable | None:
    """Make MRIQUALITY from MRIQC: a series rated 4 (SeriesQC) does not pass. None: no ratings."""
    table = _t1_series(mriqc)
    if table is None:
        return None
    assessed = table[pd.to_numeric(table["SeriesQC"], errors="coerce") > 0]
    failed = pd.to_numeric(assessed["SeriesQC"]) >= 4
    made = pd.DataFrame({"RID": assessed["RID"], "LONIUID": "S" + assessed["series"]})
    made["PASS"] = failed.map({True: "0", False: "1"})
    return ReadTable(made.reset_index(drop=True), mriqc.files, "today", list(mriqc.notes))


def mayo_from_mriqc(mriqc: ReadTable) -> ReadTable | None:
    """Make the Mayo Clinic's table of images from MRIQC, its table of series. None: no ratings."""
    table = _t1_series(mriqc)
    if table is None:
        return None
    made = pd.DataFrame(
        {
            "RID": table["RID"],
            "loni_image": "I" + table["image"],
            "series_type": "T1",
            "series_quality": table["SeriesQC"],
            "series_selected": table["chosen"],
        }
    )
    return ReadTable(made.reset_index(drop=True), mriqc.files, "today", list(mriqc.notes))
