"""N4 bias-field correction (N4ITK, Tustison et al. 2010), the paper's first step (section 4.1)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.files import atomic, digest
from ldae.fingerprint import source_fingerprint
from ldae.preprocess._ants import ants
from ldae.preprocess.batch import ScanRejected, Step, run_step
from ldae.preprocess.scan_files import ScanFiles, scan_files


def correct_bias(
    head: ants.ANTsImage, shrink_factor: int, iterations: list[int], tolerance: float
) -> ants.ANTsImage:
    """Divide a head by its estimated bias field; no mask, since brain extraction comes after.

    Args:
        head: Native T1w image (X, Y, Z).
        shrink_factor: The field is estimated on a grid coarser by this factor.
        iterations: Most iterations per level of the B-spline pyramid.
        tolerance: Change of the field below which a level stops.
    """
    return ants.n4_bias_field_correction(
        head, shrink_factor=shrink_factor, convergence={"iters": iterations, "tol": tolerance}
    )


def read_head(path: Path) -> ants.ANTsImage:
    """Read a T1w image as float32; voxels that are not a number become 0.

    Raises:
        ScanRejected: it is not one three-dimensional image of varying intensity.
    """
    image = ants.image_read(str(path))
    if image.dimension != 3 or image.components != 1:
        raise ScanRejected(f"the image has shape {image.shape}, expected one 3-D volume")
    values = image.numpy()
    if values.min() == values.max():
        raise ScanRejected("all voxels of the image are equal")
    return image


def run_n4(
    scans: pd.DataFrame,
    bids_dir: str | Path,
    preproc_dir: str | Path,
    manifest: str | Path,
    cfg: Mapping[str, Any],
) -> pd.DataFrame:
    """Correct the scans of one shard.

    Args:
        scans: Rows of scans.tsv.
        bids_dir: Folder the ``path`` column is relative to.
        preproc_dir: Output folder; writes ``*_desc-n4_T1w.nii.gz``.
        manifest: Manifest to write.
        cfg: config["preprocess"].
    """

    def run(files: ScanFiles) -> None:
        corrected = correct_bias(read_head(Path(bids_dir) / files.source), **cfg["n4"])
        with atomic(files.n4) as temporary:
            ants.image_write(corrected, str(temporary))

    source = source_fingerprint("preprocess/bias.py", "preprocess/_ants.py")
    step = Step(
        name="n4",
        fingerprint=digest({"source": source, "n4": dict(cfg["n4"])}),
        inputs=lambda files: [Path(bids_dir) / files.source],
        outputs=lambda files: [files.n4],
        run=run,
    )
    return run_step(step, scan_files(scans, preproc_dir, cfg["template"]["name"]), manifest)
