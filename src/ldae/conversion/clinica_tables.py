"""Study tables of ADNI in Clinica's form: writer, reader, and restriction to some subjects."""

from pathlib import Path

import pandas as pd

from ldae.errors import UserError
from ldae.files import atomic, read_table

ADNI1_TO_2 = ("ADNI1", "ADNIGO", "ADNI2")
STUDIES = (*ADNI1_TO_2, "ADNI3")
QUALITY, MAYO, SCANS = "MRIQUALITY", "MAYOADIRL_MRI_IMAGEQC_05_07_15", "MPRAGEMETA"
OTHER_IMAGES = "other_images.tsv"
_SUBJECT = {SCANS: "SubjectID", "ADNIMERGE": "PTID", "APOERES": "PTID", "DXSUM_PDXCONV": "PTID"}


def write_tables(tables: dict[str, pd.DataFrame], folder: str | Path) -> None:
    """Write each table to ``<name>.csv``."""
    for name, table in tables.items():
        with atomic(Path(folder) / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)


def read_clinica_tables(folder: str | Path) -> dict[str, pd.DataFrame]:
    """Read the tables of :func:`write_tables` by name, all values as text (missing: ``""``)."""
    return {
        path.stem: pd.read_csv(path, dtype=str, keep_default_na=False)
        for path in sorted(Path(folder).glob("*.csv"))
    }


def read_other_images(folder: str | Path) -> dict[str, str]:
    """Images that the download lists as other than T1-weighted: image_id to description.

    Empty for a download whose list (MPRAGEMETA) has only T1-weighted scans.
    """
    table = read_table(Path(folder) / OTHER_IMAGES, ["image_id", "description"])
    return dict(zip(table["image_id"], table["description"].fillna(""), strict=True))


def restrict(tables: dict[str, pd.DataFrame], ptids: list[str]) -> dict[str, pd.DataFrame]:
    """Restrict the tables to the rows of some subjects; the order of rows stays.

    APOERES keeps one row for each row of ADNIMERGE, and DXSUM a repeated row: Clinica needs both.

    Args:
        tables: Tables in Clinica's form, by name.
        ptids: Subjects such as ``002_S_0413``.
    """
    rids = {str(int(ptid[-4:])) for ptid in ptids}
    cut = {}
    for name, table in tables.items():
        own = table[_SUBJECT[name]].isin(ptids) if name in _SUBJECT else table["RID"].isin(rids)
        cut[name] = table[own].reset_index(drop=True)
    return cut | {"DXSUM_PDXCONV": repeat_a_row(cut["DXSUM_PDXCONV"])}


def supported_subjects(subjects: list[str], tables: dict[str, pd.DataFrame]) -> list[str]:
    """Select the subjects (PTIDs) that Clinica can convert: ORIGPROT in ADNIMERGE is not ADNI4.

    Raises:
        UserError: Clinica can convert none of them.
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


def repeat_a_row(table: pd.DataFrame) -> pd.DataFrame:
    """Repeat the first row of DXSUM, unless some (PTID, VISCODE2) has a repeat already.

    Clinica's look-up of ADNI3's screening diagnoses works only on an index with repeats.
    """
    if table.empty or table.duplicated(["PTID", "VISCODE2"]).any():
        return table
    return pd.concat([table.iloc[:1], table], ignore_index=True)
