"""Readers of single files and tables for tests of faults: the sentences that each one answers."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from ldae.cohort.ratings import read_decisions
from ldae.cohort.splits import make_splits
from ldae.conversion.bids import inspect_image
from ldae.conversion.image_checks import dicom_fault, nifti_fault
from ldae.conversion.import_bids import import_bids
from ldae.errors import UserError
from ldae.preflight.slurm import compare_with_partitions, read_nodes
from ldae.preprocess.image_io import read_scan
from ldae.preprocess.preprocessed_input import read_brain
from ldae.preprocess.shard_runner import ScanRejected

VOXELS = np.random.default_rng(0).integers(1, 900, (24, 28, 26)).astype("i2")
# sinfo's lines; the last is of no form that it is known to have
NODES = "p*|1-00:00:00|64000|8|(null)\ngpu|12:00:00|128000+|16|gpu:a100:4(S:0,1)\nq|n/a|n/a|n/a|n/a"
AFFINE = np.diag([-1.0, 1.1, 1.2, 1.0])


def said_of_image(path: Path) -> list[str]:
    """Sentences on an image in a download, in a BIDS data set, and of the preprocessing."""
    return [str(nifti_fault(path)), str(inspect_image(path)[0]), _rejected(lambda: read_scan(path))]


def said_of_mask(path: Path) -> list[str]:
    """Sentence on the mask of a good preprocessed brain."""
    brain = path.with_name("brain.nii.gz")
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), brain)
    return [_rejected(lambda: read_brain(brain, path))]


def said_of_participants(path: Path) -> list[str]:
    """Sentence on participants.tsv of a data set with two visits of a subject."""
    return [_said_of_data_set(path, "participants.tsv")]


def said_of_sessions(path: Path) -> list[str]:
    """Sentence on sessions.tsv of a data set whose sessions' labels give no months."""
    return [_said_of_data_set(path, "sessions.tsv")]


def said_of_label(path: Path) -> list[str]:
    """Reason of the one image that is not taken of a data set of two, made at ``path``."""
    table = _imported(path)
    assert sorted(table["status"]) == ["converted", "not_chosen"]  # each has a row
    return table.loc[table["status"] == "not_chosen", "reason"].tolist()


def said_of_series(path: Path) -> list[str]:
    """Sentence on a DICOM series, whose files lie in the folder ``path``."""
    return [str(dicom_fault(sorted(path.iterdir()), "002_S_0413"))]


def said_of_decisions(path: Path) -> list[str]:
    """Sentence on the table of a rater's decisions."""
    return [_refused(lambda: read_decisions(path, ["sub-A_ses-M000"]))]


def said_of_given_splits(path: Path) -> list[str]:
    """Sentence on a table of splits to start from."""
    people = pd.DataFrame({"participant_id": ["sub-A", "sub-B"], "stratum": "X/CN"})
    return [_refused(lambda: make_splits(people, 0.5, 0.5, 1, path.parent / "frozen", path))]


def said_of_requests(path: Path) -> list[str]:
    """Findings on the requests of a rule, JSON, against a cluster of two partitions."""
    requests = {"rule": json.loads(path.read_text())}
    return [one.what for one in compare_with_partitions(requests, read_nodes(NODES))]


def _refused(call: Callable[[], object]) -> str:
    try:
        call()
    except UserError as error:
        return str(error)
    return "nothing"


def _rejected(call: Callable[[], object]) -> str:
    try:
        call()
    except ScanRejected as error:
        return str(error)
    return "nothing"


def _imported(root: Path) -> pd.DataFrame:
    out = root.parent
    return import_bids(root, "X", {}, {}, out / "parts/X", out / "X.tsv")


def _said_of_data_set(path: Path, name: str) -> str:
    root = path.parent / "data"
    for session in ("ses-A", "ses-B") if name == "sessions.tsv" else ("ses-M000", "ses-M012"):
        put_scan(root, "sub-A", session)
    path.rename(root / name)
    return _refused(lambda: _imported(root))


def put_scan(root: Path, subject: str, session: str) -> None:
    """Write a good image of a BIDS data set."""
    path = root / subject / session / "anat" / f"{subject}_{session}_T1w.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), path)


READERS: dict[str, Callable[[Path], list[str]]] = {
    "image": said_of_image,
    "mask": said_of_mask,
    "participants": said_of_participants,
    "sessions": said_of_sessions,
    "label": said_of_label,
    "series": said_of_series,
    "slurm": said_of_requests,
    "decisions": said_of_decisions,
    "splits": said_of_given_splits,
}
