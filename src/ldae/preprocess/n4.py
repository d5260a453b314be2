"""N4 bias-field correction (N4ITK, Tustison et al. 2010), the paper's first step (section 4.1)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.derivatives import ScanFiles, scan_files
from ldae.files import digest
from ldae.fingerprint import source_fingerprint
from ldae.preprocess._ants import ants
from ldae.preprocess.image_io import read_head, write_image
from ldae.preprocess.shard_runner import Step, brain_first, run_step


def correct_bias(
    head: ants.ANTsImage,
    shrink_factor: int,
    iterations: list[int],
    tolerance: float,
    mask: ants.ANTsImage | None = None,
) -> ants.ANTsImage:
    """Divide a head by its estimated bias field.

    Args:
        head: Native T1w image (X, Y, Z).
        shrink_factor: The field is estimated on a grid coarser by this factor.
        iterations: Maximum of iterations per level of the B-spline pyramid.
        tolerance: Change of the field below which a level stops.
        mask: Voxels where the field is estimated; None: all. It is applied to all voxels.
    """
    return ants.n4_bias_field_correction(
        head,
        mask=mask,
        shrink_factor=shrink_factor,
        convergence={"iters": iterations, "tol": tolerance},
    )


def run_n4(
    scans: pd.DataFrame,
    bids_dir: str | Path,
    preproc_dir: str | Path,
    manifest: str | Path,
    cfg: Mapping[str, Any],
    earlier: str | Path | None = None,
) -> pd.DataFrame:
    """Correct the bias field of one shard's scans.

    Args:
        scans: Rows of scans.tsv.
        bids_dir: Folder the ``path`` column is relative to.
        preproc_dir: Output folder; receives ``*_desc-n4_T1w.nii.gz``. If ``cfg["n4"]["mask"]`` is
            ``brain``, the brain mask is read from it and ``*_desc-brain_T1w.nii.gz`` is written.
        manifest: Manifest to write.
        cfg: config["preprocess"].
        earlier: Manifest of the brain extraction, if it ran before.

    Returns:
        The manifest.
    """
    settings = {key: value for key, value in cfg["n4"].items() if key != "mask"}
    inside = brain_first(cfg)

    def run(files: ScanFiles) -> None:
        _correct_scan(files, Path(bids_dir) / files.source, settings, inside)

    def inputs(files: ScanFiles) -> list[Path]:
        return [Path(bids_dir) / files.source, *([files.mask] if inside else [])]

    source = source_fingerprint("preprocess.n4:_correct_scan")
    step = Step(
        name="n4",
        fingerprint=digest({"source": source, "n4": dict(cfg["n4"])}),
        inputs=inputs,
        outputs=lambda files: [files.n4, *([files.brain] if inside else [])],
        run=run,
    )
    files = scan_files(scans, preproc_dir, cfg["template"]["name"])
    return run_step(step, files, manifest, earlier)


def _correct_scan(files: ScanFiles, image: Path, settings: dict[str, Any], inside: bool) -> None:
    """Correct one scan; with ``inside``, within its brain mask, and write the brain as well."""
    mask = ants.image_read(str(files.mask)) if inside else None
    corrected = correct_bias(read_head(image), mask=mask, **settings)
    write_image(corrected, files.n4)
    if mask is not None:
        brain = np.where(mask.numpy() > 0, corrected.numpy(), 0)
        write_image(corrected.new_image_like(brain), files.brain)
