"""Import of an external BIDS data set, such as OASIS-3 or AIBL, as a part of ours.

Its images are raw heads, or brains in a template's space that were preprocessed elsewhere. Such
brains lie in a BIDS derivatives folder, with or without masks beside them.
"""

import logging
import re
from collections.abc import Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nibabel as nib
import pandas as pd

from bids import BIDSLayout, BIDSLayoutIndexer
from ldae.conversion.bids import compress_image, inspect_image, scan_path
from ldae.conversion.bids_filter import IMAGES, filtered_out
from ldae.conversion.bids_sidecars import Sidecars
from ldae.conversion.column_mapping import SUBJECT, VISIT, read_visits
from ldae.conversion.conversion_table import COLUMNS
from ldae.conversion.t1w_preference import asked_for, entities_of, never_taken, rank
from ldae.derivatives import BIDS_VERSION
from ldae.errors import UserError, require
from ldae.files import folder_beside, read_table, replace_folder, write_json, write_table
from ldae.progress import Progress

NO_SESSION = "M000"
_NAME = re.compile(
    r"sub-(?P<subject>[A-Za-z0-9]+)(_ses-(?P<session>[A-Za-z0-9]+))?(_run-(?P<run>\d+))?"
    r"_space-(?P<space>[A-Za-z0-9]+)_desc-brain_T1w\.nii\.gz"
)
_LABEL = re.compile(r"[A-Za-z0-9+]+")  # what pybids takes; it cuts others at the first other sign
BRAIN, MASK = "_T1w.nii.gz", "_mask.nii.gz"
# Paths without T1w images: beside the subjects' folders, and folders of other modalities.
_IGNORED = [
    re.compile(r"^/(?!sub-|$)"),
    re.compile(r"/(func|dwi|fmap|perf|pet|swi|eeg|ieeg|meg|micr|motion|mrs|nirs|beh)(/|$)"),
]


def list_brains(root: Path, space: str, key: str) -> pd.DataFrame:
    """List the brains in a template's space, by file name.

    Args:
        root: The data set.
        space: Name of the template's space in file names.
        key: Key of the configuration that messages name.

    Returns:
        Columns subject, session (labels; ``NO_SESSION`` if the name has none), run (0 if the name
        has none) and path (relative to ``root``), sorted in this order.

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
    """Link the masks of imported brains into the BIDS folder; brains without a mask are skipped.

    Args:
        root: The data set, with each mask beside its brain.
        scans: Columns scan_id and path (of the brain, relative to ``root``).
        bids: The BIDS folder of the imported brains.
    """
    for scan in scans.itertuples():
        brain = root / scan.path
        mask = brain.with_name(brain.name.removesuffix(BRAIN) + MASK)
        if mask.is_symlink() or mask.exists():  # a link to nothing fails when it is read
            target = scan_path(bids, scan.scan_id).with_name(
                f"{scan.scan_id}_desc-brain_mask.nii.gz"
            )
            target.symlink_to(mask.absolute())


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
    bids_filter: Mapping[str, Any] | None = None,
    left_out: str | None = None,
) -> pd.DataFrame:
    """Import a BIDS data set as a part (``bids/``, ``conversion.tsv``); its files do not change.

    One T1-weighted image of each session is taken (:mod:`ldae.conversion.t1w_preference`, then by
    name). Images become links to the originals under normalised names. Uncompressed images, and
    those with further axes of length 1, are written again, into the part. Each image taken is read
    whole and fails unless it is one finite, varying 3-D image.

    Args:
        bids_dir: The data set.
        name: The cohort's name.
        columns: Our name -> the data set's column; see :mod:`ldae.conversion.column_mapping`.
        values: Our name -> {the data set's value: ours}.
        part_dir: Written: the part; an earlier one is replaced.
        conversion: Written: a copy of the part's conversion table, columns ``COLUMNS``: one row
            per T1-weighted image (status converted, failed, not_chosen). path is relative to
            ``bids_dir``; image_id is the cohort's name and the path without .nii.gz.
        jobs: Parallel processes that read images.
        prefix: Prefix of each subject's label, for data sets that share labels.
        section: Section of the configuration that messages name.
        space: The images are brains in this template's space; None: raw heads.
        bids_filter: Entities that images must have (:mod:`ldae.conversion.bids_filter`), of raw
            heads alone. What it asks for by ``ceagent``, ``part`` or ``inv`` is not refused.
        left_out: Table in the data set (subject, path, status, reason) of images of its download
            that are none of its images. Each gets a row.

    Returns:
        The conversion table, sorted by subject, session and order in the session; images of
        ``left_out`` last.

    Raises:
        UserError: the folder does not exist, has no image or no good image, its tables cannot be
            mapped, or ``part_dir`` holds something else. Nothing is written.
    """
    root, part_dir = Path(bids_dir).resolve(), Path(part_dir)
    key = f"{section}.{'preprocessed_dir' if space else 'bids_dir'}"
    require(root.is_dir(), f"{key}: the folder {bids_dir} does not exist.")
    bids_filter = bids_filter or {}
    if space:
        images = list_brains(root, space, key).assign(filtered=None)
    else:
        images = _index(root, key, bids_filter, section)
    images["image_id"] = [
        f"{name}/{path.removesuffix('.nii.gz')}".replace(" ", "_") for path in images["path"]
    ]
    sidecars = Sidecars(root)
    images["about"] = [sidecars(root / path) for path in images["path"]]
    names = [entities_of(Path(path).name) for path in images["path"]]
    asked = asked_for(bids_filter)
    images["refused"] = [
        images["filtered"][at] or _refused(images["path"][at], name, about, asked)
        for at, (name, about) in enumerate(zip(names, images["about"], strict=True))
    ]
    usable = images[images["refused"].isna()]
    require(
        len(usable) > 0,
        f"{key}: no image of {root} is a plain T1-weighted one. {images['refused'].iloc[0]}",
    )
    chosen = usable.drop_duplicates(["subject", "session"]).reset_index(drop=True)
    chosen = read_visits(root, chosen, columns, values, section)
    chosen["participant_id"] = "sub-" + prefix + chosen["subject"]
    chosen["session_id"] = "ses-" + chosen["session"]
    chosen["scan_id"] = chosen["participant_id"] + "_" + chosen["session_id"]
    strengths = [_strength(about) for about in chosen.pop("about")]
    chosen["field_strength"] = chosen["field_strength"].fillna(pd.Series(strengths, dtype=float))

    with folder_beside(part_dir) as temporary:
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
        if left_out:
            more = _not_in_data_set(read_table(root / left_out), name)
            table = pd.concat([table, more], ignore_index=True)
        write_table(table, temporary / "conversion.tsv")
        replace_folder(temporary, part_dir, "conversion.tsv")
    write_table(table, conversion)
    return table


def write_refused(
    name: str, reason: str, bids_dir: str | Path, part_dir: str | Path, conversion: str | Path
) -> None:
    """Write the part of a data set that cannot be imported: without scans, its reason on record.

    Args:
        name: The cohort's name.
        reason: Why it cannot be imported.
        bids_dir, part_dir, conversion: As for :func:`import_bids`. The conversion table has one
            row, for the data set as a whole: status failed, path its folder.

    Raises:
        UserError: ``part_dir`` holds something else.
    """
    row = {"cohort": name, "image_id": name, "path": Path(bids_dir).name, "status": "failed"}
    table = pd.DataFrame([row | {"reason": reason}], columns=COLUMNS)
    part_dir = Path(part_dir)
    with folder_beside(part_dir) as temporary:
        (temporary / "bids").mkdir()
        write_table(table, temporary / "conversion.tsv")
        replace_folder(temporary, part_dir, "conversion.tsv")
    write_table(table, conversion)


def _index(root: Path, key: str, bids_filter: Mapping[str, Any], section: str) -> pd.DataFrame:
    """List T1-weighted images: subject, session (labels), rank, path; in order of preference.

    The column filtered is why ``bids_filter`` leaves an image out, or None.
    """
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=_IGNORED)
    layout = BIDSLayout(root, validate=False, indexer=indexer)
    rows, out = [], filtered_out(layout, bids_filter, section)
    for file in layout.get(**IMAGES):
        path = Path(file.path).relative_to(root).as_posix()
        about = file.entities
        session = about.get("session", NO_SESSION)
        order = rank(entities_of(file.filename))
        rows.append((about["subject"], session, order, path, out.get(file.path)))
    if not rows:
        there = ", ".join(sorted(file.name for file in root.iterdir())[:5]) or "nothing"
        raise UserError(
            f"{key}: {root} has no image sub-*/[ses-*/]anat/*_T1w.nii.gz or .nii; "
            f"found: {there}. Set it to the folder in which the subjects' folders lie."
        )
    table = pd.DataFrame(rows, columns=["subject", "session", "rank", "path", "filtered"])
    return table.sort_values(["subject", "session", "rank", "path"]).reset_index(drop=True)


def _refused(
    path: str, entities: Mapping[str, str], about: Mapping[str, Any], asked: Collection[str]
) -> str | None:
    """Reason why an image is not taken: a label that would be cut short, or what it shows."""
    for label in Path(path).parts[:-1]:
        if label[:4] in ("sub-", "ses-") and not _LABEL.fullmatch(label[4:]):
            return f"BIDS does not allow the label {label}: letters and digits alone. Rename it."
    return never_taken(entities, about, asked)


def _strength(about: Mapping[str, Any]) -> float | None:
    """Field strength (tesla) of an image's metadata; None if there is no plausible one."""
    strength = about.get("MagneticFieldStrength")
    return strength if isinstance(strength, int | float) and 0 < strength <= 7 else None


def _take_all(
    root: Path, chosen: pd.DataFrame, bids: Path, jobs: int
) -> tuple[list[str | None], list[str | None]]:
    """Faults and voxel hashes of the images; good ones are linked or written into ``bids``."""
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
    """Check one image and, if it is good, link or write it to ``target``; its fault and hash."""
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
    """Write participants.tsv, sessions.tsv and sidecars, in the form of Clinica's ADNI."""
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
    """Conversion table: status and reason of each image."""
    taken = chosen.set_index(["subject", "session"])
    number = images.groupby(["subject", "session"])["path"].transform("size")
    rows = []
    for row, rivals in zip(images.itertuples(), number, strict=True):
        # A session of which every image is refused has none that is taken.
        best = None if row.refused else taken.loc[(row.subject, row.session)]
        if best is None:
            rest = (None, "not_chosen", row.refused, None, None)
        elif row.path != best.path:
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


def _not_in_data_set(left_out: pd.DataFrame, name: str) -> pd.DataFrame:
    """Conversion table of the images of a download that did not become one of the data set."""
    rows = [
        {
            "cohort": name,
            "image_id": f"{name}/{quote(row.path)}",
            "subject_id": row.subject,
            "path": row.path,
            "status": row.status,
            "reason": row.reason,
        }
        for row in left_out.itertuples()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
