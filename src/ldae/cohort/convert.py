"""From ADNI's download to BIDS by Clinica: checks before, checks and finishing after.

Clinica itself (``clinica convert adni-to-bids``) runs between :func:`prepare` and
:func:`finish_bids`. Its exit code says little: scans that it could not convert are warnings, and
scans that it did not choose appear in its log alone. The conversion table made here accounts for
every image of the download.
"""

import os
import shutil
from pathlib import Path

import pandas as pd

from ldae.cohort.bids import check_scans, finish_subjects, write_sidecars
from ldae.cohort.download import check_images, find_subjects, index_files
from ldae.cohort.selection import explain
from ldae.cohort.tables import check_values, read_required_tables, supported_subjects
from ldae.errors import UserError, require
from ldae.files import atomic, write_table

EXPECTED_COLUMNS = [
    "Subject_ID", "VISCODE", "Visit", "Sequence", "Scan_Date", "Image_ID", "Field_Strength",
    "Original", "Path",
]  # fmt: skip


def prepare(images: str | Path, tables: str | Path, subjects_file: str | Path) -> list[str]:
    """Check the download and the study tables, and write the sorted list of subjects for Clinica.

    The order matters: without a list Clinica follows the order of the directory listing, and its
    tables differ from machine to machine. Subjects that it cannot convert (no row in ADNIMERGE,
    ADNI4) are left out of the list; the conversion table names their images.

    Args:
        images: Folder with one folder a subject.
        tables: Folder with ADNI's study tables (CSV).
        subjects_file: Written: one PTID a line.

    Returns:
        The subjects (PTIDs) of the list.

    Raises:
        UserError: anything that would make Clinica fail, or lose scans without a word.
    """
    found = find_subjects(images)
    study = read_required_tables(tables)
    subjects = supported_subjects(found, study)
    check_values(tables, study, subjects)
    files = index_files(images)
    index = files[files["format"] != "metadata"]
    known = set("I" + study["MPRAGEMETA"]["ImageUID"])
    if not known & set(index["image_id"]):
        example = f" (such as {index['image_id'].iloc[0]})" if len(index) else ""
        raise UserError(
            f"None of the {len(index)} images in {images}{example} is listed in MPRAGEMETA.csv. "
            "Files must be named ..._I<ImageUID>.dcm or .nii, and the table must be of the same "
            "download."
        )
    check_images(images, files[files["image_id"].isin(known)])
    with atomic(subjects_file) as temporary:
        temporary.write_text("".join(f"{subject}\n" for subject in subjects))
    return subjects


def finish_bids(
    raw_bids: str | Path,
    images: str | Path,
    tables: str | Path,
    out_dir: str | Path,
    conversion_table: str | Path,
    jobs: int = 1,
) -> pd.DataFrame:
    """Check Clinica's raw output, make it valid BIDS, account for every image, and move it.

    Scans that were not converted to one readable, finite, non-constant 3-D image are removed from
    the BIDS folder with all that is left of them. Free text in image headers (comments, times) and
    absolute paths are removed.

    Args:
        raw_bids: Clinica's output folder; it is changed and then renamed to ``out_dir``.
        images: The image folder that was converted.
        tables: The folder of study tables that was used.
        out_dir: The finished BIDS folder, on the same file system; an earlier one is replaced.
        conversion_table: Written: one row an image on disk, and one a scan that Clinica expected
            but did not find. Columns image_id, subject_id, path (relative to ``images``), scan_id,
            status (converted, failed, missing, not_chosen, rejected_qc, no_metadata, unsupported),
            reason.
        jobs: Parallel processes that read images.

    Raises:
        UserError: Clinica's output is not complete, or no scan was converted.
    """
    raw_bids, out_dir = Path(raw_bids), Path(out_dir)
    expected = read_expected(raw_bids)
    faults = check_scans(raw_bids, expected["scan_id"], jobs)
    clashes = expected["scan_id"].duplicated(keep=False)
    index = index_files(images)
    index = index[index["format"] != "metadata"]
    study = read_required_tables(tables)
    table = explain(index, expected.assign(fault=expected["scan_id"].map(faults)), study)
    converted = expected[~clashes & expected["scan_id"].map(faults).isna()]
    _require_all(table, index)
    if converted.empty:
        reasons = "\n  ".join(table["reason"].value_counts().index[:5])
        raise UserError(
            f"Clinica converted no scan at all. The most frequent reasons:\n  {reasons}"
        )
    write_sidecars(raw_bids, converted)
    finish_subjects(raw_bids, set(converted["scan_id"]))
    (raw_bids / ".bidsignore").write_text("swi\nconversion_info\n")
    _relative_paths(raw_bids, images)
    for left in raw_bids.glob("tmp_dcm_folder_*"):
        shutil.rmtree(left)
    write_table(table, conversion_table)
    _replace(raw_bids, out_dir)
    return table


def read_expected(bids: str | Path) -> pd.DataFrame:
    """The scans Clinica chose (``conversion_info/v0/t1_paths.tsv``), with scan_id and image_id.

    Missing paths are ``""``. Raises :class:`UserError` if the file is missing, lacks columns, or
    the folder was converted into more than once.
    """
    info = Path(bids) / "conversion_info"
    path = info / "v0" / "t1_paths.tsv"
    require(
        path.is_file(),
        f"{path} does not exist: Clinica did not finish. See its log and convert again.",
    )
    require(
        not (info / "v1").exists(),
        f"{bids} was converted into more than once, which mixes runs. Delete it and convert again.",
    )
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    missing = [name for name in EXPECTED_COLUMNS if name not in table.columns]
    require(not missing, f"{path} lacks the column(s) {', '.join(missing)}.")
    months = table["VISCODE"].replace({"bl": "m0"}).str[1:].astype(int)
    table["scan_id"] = [
        f"sub-ADNI{subject.replace('_', '')}_ses-M{month:03d}"
        for subject, month in zip(table["Subject_ID"], months, strict=True)
    ]
    table["image_id"] = "I" + table["Image_ID"]
    return table


def _require_all(table: pd.DataFrame, index: pd.DataFrame) -> None:
    """The conversion table must account for every image on disk exactly once (else: our defect)."""
    on_disk = table.loc[table["path"].notna(), "image_id"]
    if sorted(on_disk) != sorted(index["image_id"]):
        raise RuntimeError(
            f"{len(index)} images are on disk, but the conversion table accounts for {len(on_disk)}"
        )


def _relative_paths(bids: Path, images: str | Path) -> None:
    """Cut the image folder's absolute path out of Clinica's list of scans."""
    path = bids / "conversion_info" / "v0" / "t1_paths.tsv"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    root = Path(images).resolve()
    table["Path"] = [
        os.path.relpath(value, root) if Path(value).is_absolute() else value
        for value in table["Path"]
    ]
    table.to_csv(path, sep="\t", index=False)


def _replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, which may hold an earlier BIDS folder but nothing else."""
    if target.exists() and any(target.iterdir()):
        require(
            (target / "dataset_description.json").is_file(),
            f"{target} is in the way: it is not empty and not a BIDS folder. Move it elsewhere.",
        )
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
