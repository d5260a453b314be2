"""Brains that came preprocessed: where they and their masks lie in a BIDS derivatives folder.

Import of a BIDS data set that others made, such as OASIS-3's or AIBL's, as a part of ours.

Its images are raw heads, or brains that came preprocessed (:mod:`ldae.conversion.import_bids`).
"""

import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import pandas as pd

from bids import BIDSLayout, BIDSLayoutIndexer
from ldae.conversion.bids import compress_image, inspect_image, scan_path
from ldae.conversion.column_mapping import SUBJECT, VISIT, read_visits
from ldae.conversion.conversion_table import COLUMNS
from ldae.derivatives import BIDS_VERSION
from ldae.errors import UserError, require
from ldae.files import read_json, write_json, write_table
from ldae.progress import Progress

NO_SESSION = "M000"
_NAME = re.compile(
    r"sub-(?P<subject>[A-Za-z0-9]+)(_ses-(?P<session>[A-Za-z0-9]+))?(_run-(?P<run>\d+))?"
    r"_space-(?P<space>[A-Za-z0-9]+)_desc-brain_T1w\.nii\.gz"
)
BRAIN, MASK = "_T1w.nii.gz", "_mask.nii.gz"


def list_brains(root: Path, space: str, key: str) -> pd.DataFrame:
    """Each brain in a template's space: subject, session (labels), run, path; sorted so.

    Args:
        root: The data set.
        space: Name of the template's space in file names.
        key: Key of the configuration that messages name.

    Raises:
        UserError: there is no such image.
    """
    rows, spaces = [], set()
    for path in sorted(
        (*root.glob("sub-*/anat/*.nii.gz"), *root.glob("sub-*/ses-*/anat/*.nii.gz"))
    ):
        found = _NAME.fullmatch(path.name)
        if found is None:
            continue
        spaces.add(found["space"])
        if found["space"] == space:
            place = path.relative_to(root).as_posix()
            session = found["session"] or NO_SESSION
            rows.append((found["subject"], session, int(found["run"] or 0), place))
    if not rows:
        others = f"; it has brains in the space(s) {', '.join(sorted(spaces))}" if spaces else ""
        raise UserError(
            f"{key}: {root} has no image sub-*/[ses-*/]anat/"
            f"sub-*[_ses-*]_space-{space}_desc-brain_T1w.nii.gz{others}. Name the files so, and "
            "set preprocess.template (image, mask, name) to the template whose space they are in."
        )
    table = pd.DataFrame(rows, columns=["subject", "session", "run", "path"])
    return table.sort_values(["subject", "session", "run", "path"], ignore_index=True)


def brain_masks(root: Path, scans: pd.DataFrame, bids: Path) -> None:
    """Link the masks that lie beside brains to where the brains were put.

    Args:
        root: The data set.
        scans: Columns scan_id and path (of the brain, relative to ``root``).
        bids: The folder that the brains were put into.
    """
    for scan in scans.itertuples():
        brain = root / scan.path
        mask = brain.with_name(brain.name.removesuffix(BRAIN) + MASK)
        if mask.is_file():
            target = scan_path(bids, scan.scan_id).with_name(
                f"{scan.scan_id}_desc-brain_mask.nii.gz"
            )
            target.symlink_to(mask.resolve())


# Neither beside the subjects' folders nor in those of other modalities is there a T1w image.
_IGNORED = [
    re.compile(r"^/(?!sub-|$)"),
    re.compile(r"/(func|dwi|fmap|perf|pet|swi|eeg|ieeg|meg|micr|motion|mrs|nirs|beh)(/|$)"),
]
_NO_SESSION = "M000"


def import_bids(
    bids_dir: str | Path,
    name: str,
    columns: Mapping[str, str],
    values: Mapping[str, Mapping],
    part_dir: str | Path,
    conversion: str | Path,
    jobs: int = 1,
    prefix: str = "",
    section: str = "cohort",
    space: str | None = None,
) -> pd.DataFrame:
    """Make a part (``bids/``, ``conversion.tsv``) of a data set whose files stay as they are.

    Of each session the first T1-weighted image is taken (by run, then by name). Images become
    links to the originals under normalised names; uncompressed ones, and those with further axes of
    length 1, are written once more, into the part. Each image taken is read whole: what is not one
    finite, varying 3-D image has failed.

    Args:
        bids_dir: The data set.
        name: The cohort's name.
        columns: Our name -> the data set's column; see :mod:`ldae.conversion.column_mapping`.
        values: Our name -> {the data set's value: ours}.
        part_dir: Written: the part; an earlier one is replaced.
        conversion: Written: the part's conversion table once more, columns ``COLUMNS``: one row
            a T1-weighted image (status converted, failed, not_chosen); path is relative to
            ``bids_dir``, image_id is the cohort's name and the path without .nii.gz.
        jobs: Parallel processes that read images.
        prefix: Put before each subject's label, where two data sets share labels.
        section: Section of the configuration that messages name.
        space: The images are brains in this template's space; None: raw heads.

    Returns:
        The conversion table, sorted by subject, session and order in the session.

    Raises:
        UserError: no image, no good image, or tables that cannot be mapped; nothing is written.
    """
    root, part_dir = Path(bids_dir).resolve(), Path(part_dir)
    key = f"{section}.{'preprocessed_dir' if space else 'bids_dir'}"
    require(root.is_dir(), f"{key}: the folder {bids_dir} does not exist.")
    images = list_brains(root, space, key) if space else _index(root, key)
    images["image_id"] = [
        f"{name}/{path.removesuffix('.nii.gz')}".replace(" ", "_") for path in images["path"]
    ]
    first = ~images.duplicated(["subject", "session"])
    chosen = images[first].reset_index(drop=True)
    chosen = read_visits(root, chosen, columns, values, section)
    chosen["participant_id"] = "sub-" + prefix + chosen["subject"]
    chosen["session_id"] = "ses-" + chosen["session"]
    chosen["scan_id"] = chosen["participant_id"] + "_" + chosen["session_id"]
    strengths = [_sidecar_strength(root / path) for path in chosen["path"]]
    chosen["field_strength"] = chosen["field_strength"].fillna(pd.Series(strengths, dtype=float))

    with _folder_beside(part_dir) as temporary:
        chosen["fault"], chosen["image_hash"] = _take_all(root, chosen, temporary / "bids", jobs)
        good = chosen[chosen["fault"].isna()]
        if good.empty:
            reasons = "\n  ".join(chosen["fault"].value_counts().index[:5])
            raise UserError(
                f"No image of {root} can be used. The most frequent reasons:\n  {reasons}"
            )
        if space:
            brain_masks(root, good, temporary / "bids")
        _write_tables(good, temporary / "bids", name)
        table = _conversion(images, chosen, name)
        write_table(table, temporary / "conversion.tsv")
        _replace(temporary, part_dir)
    write_table(table, conversion)
    return table


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; what is left of it is removed."""
    folder = path.with_name(f".tmp-{path.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _index(root: Path, key: str) -> pd.DataFrame:
    """Each T1-weighted image: subject, session (labels), run, path; in order of preference."""
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=_IGNORED)
    layout = BIDSLayout(root, validate=False, indexer=indexer)
    rows = []
    for file in layout.get(suffix="T1w", extension=[".nii.gz", ".nii"]):
        path = Path(file.path).relative_to(root).as_posix()
        about = file.entities
        session, run = about.get("session", _NO_SESSION), int(about.get("run", 0))
        rows.append((about["subject"], session, run, path))
    if not rows:
        there = ", ".join(sorted(file.name for file in root.iterdir())[:5]) or "nothing"
        raise UserError(
            f"{key}: {root} has no image sub-*/[ses-*/]anat/*_T1w.nii.gz or .nii; "
            f"found: {there}. Set it to the folder in which the subjects' folders lie."
        )
    table = pd.DataFrame(rows, columns=["subject", "session", "run", "path"])
    return table.sort_values(["subject", "session", "run", "path"]).reset_index(drop=True)


def _sidecar_strength(image: Path) -> float | None:
    """Field strength (tesla) from the JSON file beside an image, where it says a plausible one."""
    sidecar = image.with_name(re.sub(r"\.nii(\.gz)?$", ".json", image.name))
    try:
        about = read_json(sidecar) if sidecar.is_file() else {}
    except ValueError:
        logging.warning("%s is not JSON: its field strength is taken as unknown", sidecar)
        about = {}
    strength = about.get("MagneticFieldStrength") if isinstance(about, dict) else None
    return strength if isinstance(strength, int | float) and 0 < strength <= 7 else None


def _take_all(
    root: Path, chosen: pd.DataFrame, bids: Path, jobs: int
) -> tuple[list[str | None], list[str | None]]:
    """Faults and voxel hashes of the images; good ones are put into the folder."""
    sources = [root / path for path in chosen["path"]]
    targets = [scan_path(bids, scan) for scan in chosen["scan_id"]]
    progress = Progress("images", len(sources))
    taken = []
    with ProcessPoolExecutor(jobs) as pool:
        for result in pool.map(_take, sources, targets, chunksize=4):
            taken.append(result)
            progress.step(len(taken))
    return [fault for fault, _ in taken], [found for _, found in taken]


def _take(source: Path, target: Path) -> tuple[str | None, str | None]:
    """Check one image and, if it is good, put it at its place; its fault and its hash."""
    if not source.exists():
        return "The file is a link to nothing: its data set was not downloaded wholly.", None
    fault, found = inspect_image(source)
    if fault is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".gz" and nib.load(source).ndim == 3:
            target.symlink_to(source.resolve())
        else:
            compress_image(source, target)
    return fault, found


def _write_tables(good: pd.DataFrame, bids: Path, name: str) -> None:
    """participants.tsv, sessions.tsv and sidecars, in the form of Clinica's ADNI."""
    participants = good.drop_duplicates("participant_id").sort_values("participant_id")
    write_table(participants[["participant_id", *SUBJECT]], bids / "participants.tsv")
    for participant, rows in good.groupby("participant_id"):
        sessions = rows.sort_values(["months", "session_id"])[["session_id", *VISIT]]
        sessions = sessions.rename(columns={"mmse": "MMSE"})
        write_table(sessions, bids / participant / f"{participant}_sessions.tsv")
    for row in good.itertuples():
        content = {"Modality": "MR", "ImageID": row.image_id}
        if pd.notna(row.field_strength):
            content["MagneticFieldStrength"] = float(row.field_strength)
        write_json(content, scan_path(bids, row.scan_id).with_name(f"{row.scan_id}_T1w.json"))
    about = {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"}
    write_json(about, bids / "dataset_description.json")


def _conversion(images: pd.DataFrame, chosen: pd.DataFrame, name: str) -> pd.DataFrame:
    """One row an image: what became of it, and why."""
    taken = chosen.set_index(["subject", "session"])
    number = images.groupby(["subject", "session"])["path"].transform("size")
    rows = []
    for row, rivals in zip(images.itertuples(), number, strict=True):
        best = taken.loc[(row.subject, row.session)]
        if row.path != best.path:
            reason = f"{Path(best.path).name} is taken for this session."
            rest = (None, "not_chosen", reason, None, None)
        elif pd.notna(best.fault):
            rest = (best.scan_id, "failed", best.fault, best.field_strength, None)
        else:
            reason = f"The first of the session's T1-weighted images ({rivals})."
            rest = (best.scan_id, "converted", reason, best.field_strength, best.image_hash)
        rows.append((name, row.image_id, row.subject, row.path, *rest))
    table = pd.DataFrame(rows, columns=COLUMNS)
    logging.info("%s: %s", name, table["status"].value_counts().to_dict())
    return table


def _replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, which may hold an earlier part but nothing else."""
    if target.exists():
        require(
            (target / "conversion.tsv").is_file() or not any(target.iterdir()),
            f"{target} is in the way: it is no part of an earlier run. Move it elsewhere.",
        )
        shutil.rmtree(target)
    source.replace(target)
