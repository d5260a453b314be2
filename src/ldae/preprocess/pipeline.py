"""All steps of preprocessing in one call, for scans outside the workflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.preprocess.brain_extraction import run_brain_extraction
from ldae.preprocess.n4 import run_n4
from ldae.preprocess.registration import run_registration


def run_all(
    scans: pd.DataFrame,
    bids_dir: str | Path,
    preproc_dir: str | Path,
    cfg: Mapping[str, Any],
    volumes_cfg: Mapping[str, Any],
) -> pd.DataFrame:
    """N4, brain extraction and registration, in the order that ``cfg["n4"]["mask"]`` asks for.

    Args:
        scans: scan_id, participant_id, session_id, path (relative to ``bids_dir``).
        bids_dir: Folder of the heads.
        preproc_dir: Receives the derivatives and the manifests of the steps.
        cfg: config["preprocess"].
        volumes_cfg: config["volumes"].

    Returns:
        The manifest of the registration: scan_id, status, reason, seconds.

    Raises:
        UserError: a template or weight file is missing.
    """
    manifests = Path(preproc_dir) / "manifests"
    steps = [(run_n4, "n4"), (run_brain_extraction, "brain")]
    if cfg["n4"]["mask"] == "brain":
        steps.reverse()
    earlier = None
    for run, name in steps:
        manifest = manifests / name / "scan.tsv"
        run(scans, bids_dir, preproc_dir, manifest, cfg, earlier)
        earlier = manifest
    return run_registration(
        scans, preproc_dir, manifests / "registration/scan.tsv", cfg, volumes_cfg, earlier
    )
