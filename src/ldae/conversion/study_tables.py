"""Study tables of an ADNI download: required files, their purpose, their place in the IDA, reader.

LONI delivers ``[<cohort>_]<TABLE>[_<date>].csv``. Names, columns and menu paths are those that
users of the archive report (2025 and 2026); the menus could not be checked without an account.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ldae.conversion.clinica_tables import MAYO, QUALITY, SCANS
from ldae.delimited import read_delimited
from ldae.errors import UserError, require
from ldae.files import sha256


@dataclass(frozen=True)
class TableFile:
    """One file that can serve as a table.

    Attributes:
        stem: Name of the file without prefix, date and extension.
        columns: Required columns; ``A|B`` means at least one of the two.
        form: ``clinica`` (used as it is) or ``today`` (converted by
            :mod:`ldae.conversion.loni_tables`).
    """

    stem: str
    columns: tuple[str, ...]
    form: str = "clinica"


@dataclass(frozen=True)
class StudyTable:
    """A table that Clinica requires.

    Attributes:
        purpose: Content of the table, for messages and the provenance.
        where: Menu path in the IDA.
        forms: Files that can serve as the table; the download must have exactly one.
    """

    purpose: str
    where: str
    forms: tuple[TableFile, ...]


@dataclass
class ReadTable:
    """A table that was read.

    Attributes:
        table: All values as text.
        files: Its files, relative to the folder of tables.
        form: ``clinica``, ``today`` or ``made`` (empty, made here).
        notes: Sentences on its origin and repairs, for the provenance table.
    """

    table: pd.DataFrame
    files: list[str]
    form: str
    notes: list[str] = field(default_factory=list)


_QC_COLUMNS = ("RID", "LONIUID", "PASS")
_MAYO_COLUMNS = ("RID", "loni_image", "series_type", "series_quality", "series_selected")
# fmt: off
REQUIRED = {
    "ADNIMERGE": StudyTable(
        "the examinations: dates, diagnoses, ages, scores",
        "Study Files > Study Info > ADNIMERGE - Key ADNI tables merged into one table",
        (TableFile("ADNIMERGE", (
            "RID", "COLPROT", "ORIGPROT", "PTID", "SITE", "VISCODE", "EXAMDATE", "EXAMDATE_bl",
            "DX", "DX_bl", "AGE", "PTGENDER", "PTEDUCAT", "PTETHCAT", "PTMARRY", "APOE4", "PIB",
            "AV45", "ABETA", "PTAU", "MMSE", "MMSE_bl", "ADAS11_bl", "ADAS13_bl", "ADASQ4_bl",
            "RAVLT_immediate_bl", "TRABSCOR_bl", "MOCA_bl", "mPACCdigit_bl", "mPACCtrailsB_bl",
        )),),
    ),
    SCANS: StudyTable(
        "the list of T1-weighted scans and their visits",
        "ARC Builder > tables of your cohort: All Images and, with it, Manifest",
        (
            TableFile(SCANS, (
                "Orig/Proc", "SubjectID", "Visit", "MagStrength", "Sequence", "ScanDate",
                "StudyID", "SeriesID", "ImageUID",
            )),
            TableFile("All_Images", (
                "image_id", "subject_id", "image_date", "VISCODE2|image_visit", "image_type",
                "image_description", "study_id",
            ), "today"),
        ),
    ),
    QUALITY: StudyTable(
        "ADNI's quality check of series",
        "Study Files > Imaging: MRIPROT or MRIQC",
        (TableFile(QUALITY, _QC_COLUMNS), TableFile("MRIPROT", _QC_COLUMNS, "today")),
    ),
    MAYO: StudyTable(
        "the Mayo Clinic's quality check of 3 T scans",
        "Study Files > Imaging: MAYOADIRL_MRI_IMAGEQC_05_07_15 or MRIQC",
        (
            TableFile(MAYO, _MAYO_COLUMNS),
            TableFile("MAYOADIRL_MRI_IMAGEQC_12_08_15", _MAYO_COLUMNS),
        ),
    ),
    "APOERES": StudyTable(
        "APOE genotypes",
        "Study Files > Biospecimen > Biospecimen Results > ApoE Genotyping",
        (TableFile("APOERES", ("RID", "GENOTYPE|APGEN1", "GENOTYPE|APGEN2")),),
    ),
    "DXSUM_PDXCONV": StudyTable(
        "ADNI3's screening diagnoses",
        "Study Files > Assessments > Diagnosis: DXSUM, Diagnostic Summary",
        tuple(
            TableFile(stem, ("PTID", "VISCODE2", "DIAGNOSIS"), form)
            for stem, form in (
                ("DXSUM_PDXCONV", "clinica"), ("DXSUM_PDXCONV_ADNIALL", "clinica"),
                ("DXSUM", "today"),
            )
        ),
    ),
}
# Tables that Clinica joins by RID and VISCODE2 where they exist.
OPTIONAL = {
    "CDR": "the clinical dementia rating",
    **dict.fromkeys(
        ("NEUROBAT", "GDSCALE", "MODHACH", "MOCA", "NPIQ", "NPI", "MEDHIST", "VITALS", "ECOGPT",
         "ECOGSP", "FCI", "CCI", "UWNPSYCHSUM_03_07_19", "UWNPSYCHSUM_03_26_20"),
        "more scores of the examinations",
    ),
}
# fmt: on
# Tables that only complete today's list of images; MRIQC also has quality ratings of series.
AUXILIARY = ("MRIQC", "Manifest", "Key_MRI", "MRI_Images")
# Lists of images, which may come in one file for each phase of ADNI.
LISTS = ("All_Images", *AUXILIARY[1:])
# Names of their columns, without case and underscores.
IMAGE = ("imageid", "loniimage", "imageuid")
SERIES = ("seriesid", "loniseries")
STUDY = ("studyid", "lonistudy")
FIELD_STRENGTH = ("mrifieldstr", "magneticfieldstrength", "mrifieldstrength", "fieldstrength")
# Texts that say that there is no value.
NO_VALUE = (
    "#N/A", "#NA", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None",
)  # fmt: skip
_DATE = r"(\d{1,2}[A-Za-z]{3}\d{4}|\d{1,2}_\d{1,2}_\d{2,4}|\d{4}[-_]\d{1,2}[-_]\d{1,2}|\d{8})"


def find_files(folder: str | Path, stem: str) -> list[Path]:
    """List files of ``folder``, at any depth: ``[<prefix>_]<stem>[_<date>].csv`` in any case.

    Files of the remote assessments (``RMT_``) have other identifiers and are skipped.
    """
    pattern = re.compile(rf"(.+_)?{re.escape(stem)}(_{_DATE})?( ?\(\d+\))?\.csv", re.IGNORECASE)
    found = []
    for path in sorted(Path(folder).rglob("*")):
        match = pattern.fullmatch(path.name)
        if not match or path.name.startswith(".") or not path.is_file():
            continue
        if not (match[1] or "").upper().endswith("RMT_"):
            found.append(path)
    return found


def read_study_table(path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Read a CSV file, all values as stripped text (none: ``""``); BOM and CRLF are accepted.

    Returns:
        The table, and notes on what was dropped, filled or not UTF-8.

    Raises:
        UserError: the file is no CSV; see :func:`ldae.delimited.read_delimited`.
    """
    table, notes = read_delimited(path, ",", latin1=True, downloaded=True)
    return table.mask(table.isin(NO_VALUE), ""), notes


def find_table(folder: Path, stems: tuple[str, ...]) -> tuple[list[Path], list[str]] | None:
    """Find the file with any of these names, or the files of a list that is split by cohort.

    Returns:
        The files (more than one: lists of different cohorts, ``ADNI1_All_Images.csv`` beside
        ``ADNI3_All_Images.csv``), and a note on identical copies; None if there is no file.

    Raises:
        UserError: there are several files that differ and are no such lists.
    """
    paths = [path for stem in stems for path in find_files(folder, stem)]
    if not paths:
        return None
    different = {sha256(path): path for path in reversed(paths)}
    chosen = [path for path in paths if path in different.values()]
    names = [str(path.relative_to(folder)) for path in paths]
    require(
        len(chosen) == 1 or _are_parts(chosen),
        f"is there {len(paths)} times: {', '.join(names)}; keep the one that is meant",
    )
    copies = [str(path.relative_to(folder)) for path in paths if path not in chosen]
    return chosen, [f"Identical copies were ignored: {', '.join(copies)}."] if copies else []


def _are_parts(paths: list[Path]) -> bool:
    """Whether files are lists of images of different phases, by the phase before the name."""
    phase = r"(?:.*_)?(ADNI(?:1|2|3|4|-?GO))"
    names = [
        re.fullmatch(rf"{phase}_({'|'.join(LISTS)})(_.*)?", p.stem, re.IGNORECASE) for p in paths
    ]
    cohorts = {name[1].lower() for name in names if name}
    return len(cohorts) == len(paths) and len({name[2].lower() for name in names if name}) == 1


def with_columns(table: pd.DataFrame, columns: tuple[str, ...]) -> tuple[pd.DataFrame, list[str]]:
    """Rename columns to this spelling (any case is accepted); also returns those missing."""
    spelt = {name.lower(): name for name in table.columns}
    wanted = {name for column in columns for name in column.split("|")}
    names = {spelt[name.lower()]: name for name in sorted(wanted) if name.lower() in spelt}
    table = table.rename(columns=names)
    lacking = [
        column.replace("|", " or ")
        for column in columns
        if not set(column.split("|")) & set(table.columns)
    ]
    return table, lacking


def column_of(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    """Column of ``table`` for the first of ``names`` that it has, without case and underscores."""
    plain = {column.lower().replace("_", ""): column for column in table.columns}
    return next((plain[name] for name in names if name in plain), None)


def read_download(folder: str | Path) -> tuple[dict[str, ReadTable], dict[str, ReadTable]]:
    """Read all tables of a download.

    Returns:
        Tables by Clinica's names, and auxiliary tables by LONI's. A required quality table may be
        absent if MRIQC is there to make it from.

    Raises:
        UserError: one message that lists every required table that is missing, ambiguous or
            incomplete, with its purpose and its place in the IDA.
    """
    folder = Path(folder)
    require(
        folder.is_dir(),
        f"The folder of study tables {folder} does not exist. Put ADNI's study tables (CSV) "
        "there, or set paths.tables.",
    )
    faults: list[str] = []
    auxiliary = {}
    for stem in AUXILIARY:
        if found := _read(
            folder, stem, "a list of images", (TableFile(stem, (), "today"),), faults
        ):
            auxiliary[stem] = found
    tables = {}
    for name, spec in REQUIRED.items():
        before = len(faults)
        found = _read(folder, name, spec.purpose, spec.forms, faults)
        if found:
            tables[name] = found
        elif len(faults) == before and not (name in (QUALITY, MAYO) and "MRIQC" in auxiliary):
            stems = " or ".join(f"{form.stem}.csv" for form in spec.forms)
            faults.append(f"{stems} ({spec.purpose}) is missing; in the IDA: {spec.where}")
    for name, purpose in OPTIONAL.items():
        if found := _read(folder, name, purpose, (TableFile(name, ("RID", "VISCODE2")),), faults):
            tables[name] = found
    faults += _incomplete_images(tables.get(SCANS), auxiliary)
    if faults:
        raise UserError(
            f"The study tables in {folder} are not complete:\n  "
            + "\n  ".join(faults)
            + "\nGet them from the IDA (Search & Download); docs/adni.md lists all."
        )
    return tables, auxiliary


def _read(
    folder: Path, name: str, purpose: str, forms: tuple[TableFile, ...], faults: list[str]
) -> ReadTable | None:
    """Read one table; its faults are appended to ``faults``. None if it is missing or invalid."""
    try:
        found = find_table(folder, tuple(form.stem for form in forms))
        if found is None:
            return None
        paths, notes = found
        form = next(form for form in forms if paths[0] in find_files(folder, form.stem))
        read = [read_study_table(path) for path in paths]
    except UserError as error:
        faults.append(f"{name} ({purpose}) {error}")
        return None
    parts = []
    for path, (table, more) in zip(paths, read, strict=True):
        table, lacking = with_columns(table, form.columns)
        if lacking and form.stem != "MRIPROT":  # which is replaced later, with a note
            faults.append(f"{path.name} ({purpose}) lacks the column(s) {', '.join(lacking)}")
        parts.append(table)
        notes = notes + more
    files = [str(path.relative_to(folder)) for path in paths]
    if len(parts) > 1:
        notes = [*notes, f"{len(parts)} lists, of different cohorts, were read together."]
    table = pd.concat(parts, ignore_index=True).fillna("")
    return ReadTable(table, files, form.form, notes)


def _incomplete_images(scans: ReadTable | None, auxiliary: dict[str, ReadTable]) -> list[str]:
    """Faults of today's list of images if no table gives its series or field strengths."""
    if scans is None or scans.form == "clinica":
        return []
    tables = [scans, *auxiliary.values()]
    return [
        f"{scans.files[0]} lacks {what}, and no table beside it has them; in the IDA: {where}"
        for what, names, where in (
            ("series numbers", SERIES, "ARC Builder > Manifest, or Study Files > Imaging: MRIQC"),
            ("field strengths", FIELD_STRENGTH, "Study Files > Imaging: MRIQC"),
        )
        if not any(column_of(found.table, names) for found in tables)
    ]
