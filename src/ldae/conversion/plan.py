"""Plan of a conversion: every image of the download, with its batch or its fault."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ldae.conversion.clinica_tables import (
    read_clinica_tables,
    read_other_images,
    supported_subjects,
)
from ldae.conversion.image_index import index_images
from ldae.derivatives import shard_of
from ldae.errors import UserError, require
from ldae.files import read_table, write_table


def plan_conversion(
    images: str | Path,
    tables: str | Path,
    exclusions: str | Path,
    batches: int,
    jobs: int = 1,
) -> pd.DataFrame:
    """List and check every image of the download, and give each subject a batch.

    Args:
        images: The image folder; subjects' folders may lie up to three levels down.
        tables: The study tables in Clinica's form, from
            :func:`ldae.conversion.prepare_tables.prepare_tables`.
        exclusions: Its table of images to exclude from Clinica (image_id, status, reason).
        batches: Number of batches.
        jobs: Parallel processes.

    Returns:
        Columns of :func:`ldae.conversion.image_index.index_images` and batch, the subject's (n/a
        for files without an identifier and for subjects that Clinica cannot convert). status is
        n/a for an image that may be converted. Otherwise it is corrupt, unrecognised, no_metadata,
        unsupported, not_chosen (not T1-weighted, or with contrast agent) or that of ``exclusions``,
        each with a reason.

    Raises:
        UserError: no image, no subject that can be converted, or tables of another download.
    """
    study = read_clinica_tables(tables)
    excluded = _read_exclusions(exclusions)
    owner = dict(
        zip("I" + study["MPRAGEMETA"]["ImageUID"], study["MPRAGEMETA"]["SubjectID"], strict=True)
    )
    other = read_other_images(tables)
    index = index_images(images, set(owner), jobs)
    named = index["image_id"].notna()
    _check_found(Path(images), index[named], owner)
    subjects = sorted(set(index.loc[named, "subject_id"].dropna()))
    supported = set(supported_subjects(subjects, study))
    unsupported = {
        row.subject_id: excluded[row.image_id]
        for row in index[named].itertuples()
        if excluded.get(row.image_id, ("",))[0] == "unsupported"
    }
    outcomes = []
    for row in index.itertuples():
        outcome = (row.status, row.reason)
        if pd.isna(row.image_id):
            pass
        elif row.image_id in excluded:
            outcome = excluded[row.image_id]
        elif row.image_id in other and row.image_id not in owner:
            outcome = ("not_chosen", _not_t1(other[row.image_id]))
        elif row.subject_id not in supported:
            outcome = unsupported.get(row.subject_id) or _unknown(row.subject_id)
        elif owner.get(row.image_id, row.subject_id) != row.subject_id:
            outcome = ("corrupt", "MPRAGEMETA gives this image to another subject.")
        outcomes.append(outcome)
    index["status"], index["reason"] = zip(*outcomes, strict=True)
    in_batch = named & index["subject_id"].isin(supported)
    numbers = [shard_of(name, batches) for name in index.loc[in_batch, "subject_id"]]
    index["batch"] = pd.Series(numbers, index=index.index[in_batch], dtype="Int64")
    return index


def _check_found(images: Path, index: pd.DataFrame, owner: Mapping[str, str]) -> None:
    """Refuse an image folder that has no images or is not of the tables' download."""
    require(
        len(index) > 0,
        f"The image folder {images} has no image named ..._I<ImageUID>.dcm or .nii. Unpack all of "
        "ADNI's image archives there, or set paths.images.",
    )
    if not set(owner) & set(index["image_id"]):
        raise UserError(
            f"None of the {len(index)} images in {images} (such as {index['image_id'].iloc[0]}) is "
            "listed in MPRAGEMETA.csv. The images and the tables must be of the same download."
        )


def _read_exclusions(exclusions: str | Path) -> dict[str, tuple[str, str]]:
    table = read_table(exclusions, ["image_id", "status", "reason"])
    return {row.image_id: (row.status, row.reason) for row in table.itertuples()}


def _not_t1(description: str) -> str:
    return f"It is listed as {description[:60]!r}, which is not T1-weighted."


def _unknown(subject: str | None) -> tuple[str, str]:
    if pd.isna(subject):
        return "no_metadata", "Neither the folders nor the file's name tell the subject."
    return "no_metadata", f"ADNIMERGE has no row for the subject {subject}."


def write_plan(index: pd.DataFrame, table: str | Path, batches: Mapping[int, str | Path]) -> None:
    """Write the table of all images, and one for each batch (without column batch)."""
    write_table(index, table)
    for number, path in batches.items():
        write_table(index[index["batch"] == number].drop(columns="batch"), path)
