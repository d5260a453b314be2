"""ADNI's study tables: found and read as Clinica does, and checked before hours of conversion."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ldae.errors import UserError

STUDIES = ("ADNI1", "ADNIGO", "ADNI2", "ADNI3")


@dataclass(frozen=True)
class StudyTable:
    """A table that the conversion needs: its columns, its use and what LONI calls it today."""

    columns: tuple[str, ...]
    purpose: str
    today: str = ""


# fmt: off
REQUIRED = {
    "ADNIMERGE": StudyTable(
        (
            "RID", "COLPROT", "ORIGPROT", "PTID", "SITE", "VISCODE", "EXAMDATE", "EXAMDATE_bl",
            "DX", "DX_bl", "AGE", "PTGENDER", "PTEDUCAT", "PTETHCAT", "PTMARRY", "APOE4", "PIB",
            "AV45", "ABETA", "PTAU", "MMSE", "MMSE_bl", "ADAS11_bl", "ADAS13_bl", "ADASQ4_bl",
            "RAVLT_immediate_bl", "TRABSCOR_bl", "MOCA_bl", "mPACCdigit_bl", "mPACCtrailsB_bl",
        ),
        "the examinations: dates, diagnoses, ages, scores",
    ),
    "MPRAGEMETA": StudyTable(
        (
            "Orig/Proc", "SubjectID", "Visit", "MagStrength", "Sequence", "ScanDate", "StudyID",
            "SeriesID", "ImageUID",
        ),
        "the list of T1-weighted scans and their visits",
        "<project>_All_Images_<date>.csv, with other columns",
    ),
    "MRIQUALITY": StudyTable(
        ("RID", "LONIUID", "PASS"), "ADNI's quality check of series", "MRIPROT_<date>.csv"
    ),
    "MAYOADIRL_MRI_IMAGEQC_05_07_15": StudyTable(
        ("RID", "loni_image", "series_type", "series_quality", "series_selected"),
        "the Mayo Clinic's quality check of 3 T scans",
    ),
    "APOERES": StudyTable(("GENOTYPE",), "APOE genotypes"),
    "DXSUM_PDXCONV": StudyTable(
        ("PTID", "VISCODE2", "DIAGNOSIS"), "ADNI3's screening diagnoses", "DXSUM_<date>.csv"
    ),
}
# fmt: on
_ALTERNATIVE_NAMES = {"DXSUM_PDXCONV": "DXSUM_PDXCONV_ADNIALL"}
_ALTERNATIVE_COLUMNS = {"APOERES": ("APGEN1", "APGEN2")}
# Optional tables whose VISCODE2 Clinica parses: one odd code, or one empty RID, spoils the table.
_BY_VISIT = (
    "CDR", "NEUROBAT", "GDSCALE", "MODHACH", "MOCA", "NPIQ", "MEDHIST", "VITALS", "ECOGPT",
    "ECOGSP", "UWNPSYCHSUM_03_07_19", "UWNPSYCHSUM_03_26_20", "FCI", "CCI", "NPI",
)  # fmt: skip
_VISIT2 = re.compile(r"(sc|bl|[mM]\d+|f|uns1)?")


def find_tables(folder: str | Path, name: str) -> list[Path]:
    """Files in ``folder``, at any depth, that Clinica takes for the table ``name``."""
    pattern = re.compile(re.escape(name) + r"(_\d{1,2}[A-Za-z]{3}\d{4})?\.csv")
    return sorted(path for path in Path(folder).rglob("[!.]*.csv") if pattern.search(path.name))


def read_study_table(path: str | Path) -> pd.DataFrame:
    """Read a study table, all values as text (empty: ``""``); BOM and CRLF are accepted."""
    try:
        return pd.read_csv(path, dtype=str, encoding="utf-8-sig").fillna("")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(
            f"The study table {path} cannot be read as comma-separated UTF-8 text: {error}. "
            "Download it again, or save it as CSV (UTF-8)."
        ) from error


def read_required_tables(folder: str | Path) -> dict[str, pd.DataFrame]:
    """Read the tables that the conversion needs, by their names.

    Raises:
        UserError: lists all tables that are missing or there twice and all missing columns, with
            what each is for.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"The folder of study tables {folder} does not exist. Put ADNI's study tables (CSV) "
            "there, or set paths.tables."
        )
    tables, faults = {}, []
    for name, spec in REQUIRED.items():
        paths = find_tables(folder, name)
        if name in _ALTERNATIVE_NAMES:
            paths = find_tables(folder, _ALTERNATIVE_NAMES[name]) or paths
        if len(paths) != 1:
            faults.append(_number_fault(folder, name, spec, paths))
            continue
        table = read_study_table(paths[0])
        missing = [column for column in spec.columns if column not in table.columns]
        alternative = _ALTERNATIVE_COLUMNS.get(name)
        if missing and not (alternative and set(alternative) <= set(table.columns)):
            columns = ", ".join(missing)
            faults.append(f"{paths[0].name} ({spec.purpose}) lacks the column(s) {columns}")
        tables[name] = table
    if faults:
        raise UserError(
            f"The study tables in {folder} are not complete:\n  "
            + "\n  ".join(faults)
            + "\nGet them from ADNI's study data; docs/adni.md lists all."
        )
    return tables


def _number_fault(folder: Path, name: str, spec: StudyTable, paths: list[Path]) -> str:
    if paths:
        listed = ", ".join(str(path.relative_to(folder)) for path in paths)
        return f"{name}.csv ({spec.purpose}) is there {len(paths)} times: {listed}; keep one"
    text = f"{name}.csv ({spec.purpose}) is missing"
    other = [
        path.name
        for path in sorted(folder.rglob("*.csv"))
        if path.name.lower().startswith(name.lower())
    ]
    if other:
        text += f"; found {', '.join(other)}, but the name must match to the letter"
    elif spec.today:
        text += f"; LONI calls it {spec.today} today: rename it, and its columns if they differ"
    return text


def supported_subjects(subjects: list[str], tables: dict[str, pd.DataFrame]) -> list[str]:
    """Those of ``subjects`` (PTIDs) that Clinica can convert: in ADNIMERGE, and not ADNI4.

    Raises:
        UserError: none of them is.
    """
    merge = tables["ADNIMERGE"]
    known = set(merge.loc[merge["ORIGPROT"].isin(STUDIES), "PTID"])
    kept = [subject for subject in subjects if subject in known]
    if not kept:
        raise UserError(
            f"None of the {len(subjects)} subjects in the image folder (such as {subjects[0]}) has "
            f"a row in ADNIMERGE.csv with ORIGPROT {', '.join(STUDIES)}. The images and the study "
            "tables must be of the same download."
        )
    return kept


def check_values(folder: str | Path, tables: dict[str, pd.DataFrame], subjects: list[str]) -> None:
    """Refuse values on which Clinica 0.12 aborts, or silently empties a whole column.

    Only rows of ``subjects`` (PTIDs) count, save for identifiers. The faults were found by running
    Clinica on such rows; most abort only after all images are converted.

    Raises:
        UserError: lists every fault with table, subject and value.
    """
    merge = tables["ADNIMERGE"]
    merge = merge[merge["PTID"].isin(subjects)]
    scans = tables["MPRAGEMETA"]
    scans = scans[scans["SubjectID"].isin(subjects)]
    date = r"\d{4}-\d{2}-\d{2}"
    rules = [
        ("ADNIMERGE", merge, "PTID", "VISCODE", r"bl|[mM]\d+", "bl or m<months>"),
        ("ADNIMERGE", merge, "PTID", "DX", r"(CN|MCI|Dementia)?", "CN, MCI, Dementia or empty"),
        ("ADNIMERGE", merge, "PTID", "EXAMDATE", date, "YYYY-MM-DD"),
        ("ADNIMERGE", merge, "PTID", "EXAMDATE_bl", date, "YYYY-MM-DD"),
        ("MPRAGEMETA", scans, "SubjectID", "ScanDate", date, "YYYY-MM-DD"),
        # One value that is no integer makes all identifiers of the column decimal numbers.
        ("MPRAGEMETA", tables["MPRAGEMETA"], "SubjectID", "ImageUID", r"\d+", "an integer"),
        ("MPRAGEMETA", tables["MPRAGEMETA"], "SubjectID", "SeriesID", r"\d+", "an integer"),
    ]
    faults = []
    for name, table, subject, column, pattern, allowed in rules:
        bad = table[~table[column].str.fullmatch(pattern)]
        faults += [
            f"{name}.csv, subject {row[subject]}: {column} is {row[column]!r}, not {allowed}"
            for _, row in bad.iterrows()
        ]
    faults += _visit_table_faults(folder, {int(subject[-4:]) for subject in subjects})
    faults += _screening_faults(tables["DXSUM_PDXCONV"], merge)
    faults += _mayo_faults(scans, tables["MAYOADIRL_MRI_IMAGEQC_05_07_15"])
    if faults:
        raise UserError(
            f"Clinica cannot work with {len(faults)} value(s) of the study tables in {folder}:\n  "
            + "\n  ".join(faults)
            + "\nCorrect or remove these rows."
        )


def _visit_table_faults(folder: str | Path, rids: set[int]) -> list[str]:
    """Faults of the optional tables by visit: empty RIDs and unknown visit codes."""
    faults = []
    for name in _BY_VISIT:
        paths = find_tables(folder, name)
        if len(paths) != 1:  # Clinica leaves out optional tables that are missing or there twice
            continue
        table = read_study_table(paths[0])
        missing = [column for column in ("RID", "VISCODE2") if column not in table.columns]
        if missing:
            faults.append(f"{paths[0].name} lacks the column(s) {', '.join(missing)}")
            continue
        numbers = pd.to_numeric(table["RID"], errors="coerce")
        if numbers.isna().any():
            faults.append(f"{paths[0].name}: {int(numbers.isna().sum())} row(s) without RID")
        codes = table.loc[numbers.isin(rids), "VISCODE2"]
        odd = sorted(set(codes[~codes.str.fullmatch(_VISIT2)]))
        if odd:
            faults.append(f"{paths[0].name}: VISCODE2 {', '.join(odd)} is no visit Clinica knows")
    return faults


def _screening_faults(dxsum: pd.DataFrame, merge: pd.DataFrame) -> list[str]:
    """Clinica looks up ADNI3's screening diagnosis in a way that needs a repeated (PTID, VISCODE2).

    ``DataFrame.loc`` on an index with repeats gives a series, on a unique one a scalar, on which
    Clinica then fails.
    """
    adni3 = set(merge.loc[merge["ORIGPROT"] == "ADNI3", "PTID"])
    screened = dxsum[dxsum["PTID"].isin(adni3) & (dxsum["VISCODE2"] == "sc")]
    if screened.empty or dxsum.duplicated(["PTID", "VISCODE2"]).any():
        return []
    return [
        "DXSUM_PDXCONV.csv has no (PTID, VISCODE2) twice, on which Clinica 0.12 fails with ADNI3 "
        "subjects: repeat any one row"
    ]


def _mayo_faults(scans: pd.DataFrame, mayo: pd.DataFrame) -> list[str]:
    """Visits whose 3 T originals were all rejected by the Mayo Clinic: Clinica converts None."""
    wanted = scans["Sequence"].str.contains(r"mp-?\s?rage|spgr|accel", case=False)
    processed = scans[scans["Orig/Proc"] == "Processed"]
    done = set(zip(processed["SubjectID"], processed["Visit"], strict=True))
    mayo = mayo[mayo["series_type"] == "T1"].set_index("loni_image")
    faults = []
    originals = scans[wanted & (scans["Orig/Proc"] == "Original")]
    for (subject, visit), group in originals.groupby(["SubjectID", "Visit"]):
        images = "I" + group["ImageUID"]
        if (subject, visit) in done or set(pd.to_numeric(group["MagStrength"])) != {3.0}:
            continue
        if not images.isin(mayo.index).all():
            continue
        verdict = mayo.loc[images]
        quality = pd.to_numeric(verdict["series_quality"], errors="coerce")
        selected = pd.to_numeric(verdict["series_selected"], errors="coerce").sum()
        if (quality >= 4).all() and selected != 1:
            faults.append(
                f"MPRAGEMETA.csv, subject {subject}: all scans of {visit!r} "
                f"({', '.join(images)}) were rejected by the Mayo Clinic's quality check"
            )
    return faults
