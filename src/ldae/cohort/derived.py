"""Brains that came preprocessed: where they and their masks lie in a BIDS derivatives folder."""

import re
from pathlib import Path

import pandas as pd

from ldae.cohort.bids import scan_path
from ldae.errors import UserError

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
