"""Merge of the converted parts: one BIDS data set and one conversion table of all images.

A part is a batch of the download or an imported data set. Images are linked and tables joined; a
participant in two parts is an error.
"""

import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import ldae
from ldae.conversion.conversion_table import COLUMNS, sort_images
from ldae.derivatives import BIDS_VERSION
from ldae.errors import UserError, require
from ldae.files import MISSING, atomic, read_json, read_table, write_json

README = """\
T1-weighted MRI of {names}, made by the workflow of Latent Diffusion Autoencoders (LDAE).

Images of ADNI were converted by Clinica, those of other data sets are links to the originals. Each
image was read whole and has finite, varying voxels. What became of every other image is in the
table conversion.tsv of the workflow. Do not edit: the workflow makes this folder anew.
"""


def merge_parts(
    parts: Mapping[str, Path],
    tables: Mapping[str, Path],
    images: str | Path | None,
    cohort: str,
    out: str | Path,
) -> pd.DataFrame:
    """Merge all parts to one BIDS data set, and their tables to one of all images.

    Args:
        parts: Name -> folder of the part (``bids/`` inside).
        tables: Name -> the part's conversion table.
        images: The plan's table of images; None without a download. Its rows without a batch are
            added to the result; its other rows must all be in a part.
        cohort: Name of the download's cohort.
        out: The BIDS folder to make.

    Returns:
        Columns :data:`ldae.conversion.conversion_table.COLUMNS`, sorted by cohort, subject and
        image.

    Raises:
        UserError: a part is missing, a participant is in two parts, or nothing was converted.
        RuntimeError: an image on disk is missing from the result or is there twice (our defect).
    """
    lost = [name for name, part in parts.items() if not (part / "bids").is_dir()]
    require(
        not lost,
        f"The converted part(s) {', '.join(lost)} were removed. Delete "
        f"{', '.join(str(tables[name]) for name in lost)} as well, and run again.",
    )
    rows = [read_table(path, COLUMNS) for path in tables.values()]
    if images is not None:
        index = read_table(images)
        rest = index[index["batch"].isna()].reindex(columns=COLUMNS).assign(cohort=cohort)
        rows.append(rest)
    table = pd.concat([part for part in rows if len(part)] or rows, ignore_index=True)
    table = sort_images(table[COLUMNS])
    if images is not None:
        _require_all(table[table["cohort"] == cohort], index)
    converted = table[table["status"] == "converted"]
    if converted.empty:
        reasons = "\n  ".join(table["reason"].value_counts().index[:5])
        raise UserError(f"No scan was converted at all. The most frequent reasons:\n  {reasons}")
    bids = {name: part / "bids" for name, part in parts.items()}
    merge_bids(bids, list(dict.fromkeys(converted["cohort"])), Path(out))
    return table


def _require_all(table: pd.DataFrame, index: pd.DataFrame) -> None:
    """Check that the table has every image on disk exactly once; RuntimeError: our defect."""
    accounted, on_disk = sorted(table["path"].dropna()), sorted(index["path"])
    if accounted != on_disk:
        odd = sorted(set(accounted) ^ set(on_disk))[:3]
        raise RuntimeError(
            f"{len(on_disk)} images are on disk, but the conversion table accounts for "
            f"{len(accounted)}; they differ in {odd}"
        )


def remove_stale(folder: str | Path, cohort: str, names: Collection[str]) -> list[str]:
    """Delete parts of batches that no longer exist: there are fewer batches than before.

    Args:
        folder: The folder of the parts.
        cohort: Name of the download's cohort: its parts are called ``<cohort>-<number>``.
        names: Parts that stay.

    Returns:
        Names of the deleted folders, sorted.
    """
    pattern = re.compile(rf"(\.work-)?{re.escape(cohort)}-\d+")
    stale = [
        path
        for path in sorted(Path(folder).iterdir())
        if pattern.fullmatch(path.name) and path.name not in names
    ]
    for path in stale:
        shutil.rmtree(path)
    return [path.name for path in stale]


def merge_bids(parts: Mapping[str, Path], names: list[str], out: Path) -> None:
    """Merge several BIDS data sets to one, ``out``.

    Files are hard links (copies where the file system has none); symbolic links stay links.
    participants.tsv has the columns of all parts, ``n/a`` where a part has none.

    Args:
        parts: Name -> BIDS folder, with participants.tsv unless it has no participant.
        names: Names of the cohorts, for the description.
        out: Folder to make; it must not exist, or be empty.

    Raises:
        UserError: a participant is in two parts, or ``out`` is not empty.
    """
    out.mkdir(parents=True, exist_ok=True)
    require(not any(out.iterdir()), f"{out} is in the way: it is not empty. Move it elsewhere.")
    tables = [_participants(parts[name]).assign(part=name) for name in parts]
    table = pd.concat(tables, ignore_index=True) if tables else _no_participants()
    twice = table[table["participant_id"].duplicated(keep=False)]
    if len(twice):
        first = twice["participant_id"].iloc[0]
        where = list(twice.loc[twice["participant_id"] == first, "part"])
        raise UserError(
            f"The participant {first} is in {' and '.join(where)}; "
            f"{twice['participant_id'].nunique()} participant(s) are in more than one data set. "
            f"Set cohort.beside.{where[-1]}.prefix, or leave that data set out."
        )
    for name, part in parts.items():
        for participant in tables[list(parts).index(name)]["participant_id"]:
            link_tree(part / participant, out / participant)
    table = table.drop(columns="part").sort_values("participant_id").fillna(MISSING)
    with atomic(out / "participants.tsv") as temporary:
        table.to_csv(temporary, sep="\t", index=False)
    write_json(_description(parts, names), out / "dataset_description.json")
    (out / "README").write_text(README.format(names=" and ".join(names)))
    (out / ".bidsignore").write_text("conversion_info\n")


def _no_participants() -> pd.DataFrame:
    return pd.DataFrame({"participant_id": pd.Series(dtype=str), "part": pd.Series(dtype=str)})


def _participants(part: Path) -> pd.DataFrame:
    path = part / "participants.tsv"
    if not path.is_file():
        return _no_participants().drop(columns="part")
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def _description(parts: Mapping[str, Path], names: list[str]) -> dict[str, Any]:
    """Content of dataset_description.json: our program and those of the parts, each once."""
    programs = [{"Name": "ldae", "Version": ldae.__version__}]
    for part in parts.values():
        path = part / "dataset_description.json"
        described = read_json(path).get("GeneratedBy", []) if path.is_file() else []
        programs += [program for program in described if program not in programs]
    return {
        "Name": " and ".join(names),
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": programs,
    }


def link_tree(source: Path, target: Path) -> None:
    """Make ``target`` a tree of links to the files of ``source``."""
    target.mkdir(parents=True)
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            new = target / entry.name
            if entry.is_symlink():
                new.symlink_to(_moved_link(Path(entry.path), new))
            elif entry.is_dir():
                link_tree(Path(entry.path), new)
            else:
                _link(entry.path, new)


def _moved_link(link: Path, new: Path) -> str:
    """Target of a symbolic link, as seen from its new place."""
    to = link.readlink()
    return str(to) if to.is_absolute() else os.path.relpath(link.parent / to, new.parent)


def _link(source: str, target: Path) -> None:
    """Make a hard link, or a copy where the file system cannot link."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
