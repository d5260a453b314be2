"""Preprocessed input (``cohort.preprocessed_dir``): check, measure and put scans on the grid.

The scans are brains in the template's space already. This step writes what registration would
write, without estimating anything: brain and mask on the target grid, measures and picture.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.derivatives import ScanFiles, scan_files
from ldae.files import atomic, digest, sha256, write_json
from ldae.fingerprint import source_fingerprint
from ldae.preprocess._ants import ants
from ldae.preprocess.image_io import as_mask, read_mask, read_scan
from ldae.preprocess.qc_bounds import judge_of
from ldae.preprocess.qc_measures import measure, points_of
from ldae.preprocess.qc_picture import Head, write_picture
from ldae.preprocess.resampling import (
    MARGIN,
    Template,
    crop_around,
    load_template,
    resample,
    resample_mask,
)
from ldae.preprocess.shard_runner import ScanRejected, Step, run_step

MAX_CENTRE_DISTANCE = (
    25.0  # mm between the centres of brain and template; no affine leaves half of that
)
FULL = 0.9  # fraction of non-zero voxels above which an image is not skull-stripped
NEGATIVE = 0.01  # fraction of negative brain voxels above which intensities are z-scores


def run_preprocessed_input(
    scans: pd.DataFrame,
    bids_dir: str | Path,
    preproc_dir: str | Path,
    manifest: str | Path,
    cfg: Mapping[str, Any],
    volumes_cfg: Mapping[str, Any],
    mriqc: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Check the scans of one shard, put them on the target grid, measure and draw them.

    Args:
        scans: Rows of scans.tsv.
        bids_dir: Folder that their paths are relative to; the mask of a scan lies beside the scan.
        preproc_dir: Receives brain and mask on the target grid, ``*_desc-qc.json`` and
            ``*_desc-qc.webp``.
        manifest: Manifest to write, as that of the registration. A scan outside the bounds of
            ``cfg["qc"]`` gets the status ``qc`` and keeps its files.
        cfg: config["preprocess"]: template, qc.
        volumes_cfg: config["volumes"]: spacing (mm), interpolation, antialias.
        mriqc: MRIQC's measures (scan_id, ``mriqc_*``), which bounds of ``cfg["qc"]`` may concern;
            None: there are none.

    Returns:
        The manifest.

    Raises:
        UserError: the template is missing.
    """
    spacing = float(volumes_cfg["spacing"])
    interpolation, prefilter = volumes_cfg["interpolation"], volumes_cfg["antialias"]
    template = load_template(cfg["template"], spacing, spacing)

    def sources(files: ScanFiles) -> tuple[Path, Path]:
        image = Path(bids_dir) / files.source
        return image, image.with_name(f"{files.scan_id}_desc-brain_mask.nii.gz")

    def run(files: ScanFiles) -> None:
        _put_on_grid(files, *sources(files), template, interpolation, prefilter)

    depends = {
        "source": source_fingerprint(
            "preprocess.preprocessed_input:_put_on_grid", "preprocess.resampling:load_template"
        ),
        "template": [sha256(cfg["template"][key]) for key in ("image", "mask")],
        "volumes": [spacing, interpolation, prefilter],
    }
    step = Step(
        name="registration",
        fingerprint=digest(depends),
        inputs=sources,
        outputs=lambda files: [
            files.registered_brain,
            files.registered_mask,
            files.picture,
            files.measures,
        ],
        run=run,
        qc_reason=judge_of(mriqc, cfg["qc"]),
    )
    return run_step(step, scan_files(scans, preproc_dir, cfg["template"]["name"]), manifest)


def _put_on_grid(
    files: ScanFiles,
    image: Path,
    mask_file: Path,
    template: Template,
    interpolation: str,
    prefilter: bool,
) -> None:
    brain, mask = read_brain(image, mask_file)
    _require_template_space(mask, template.grid_mask, files.template)
    grid = template.grid_brain
    moved, moved_mask = on_target_grid(brain, mask, grid, interpolation, prefilter)
    measures = measure(brain, mask, moved, moved_mask, grid, template.grid_mask, None)
    for made, path in ((moved, files.registered_brain), (moved_mask, files.registered_mask)):
        with atomic(path) as temporary:
            ants.image_write(made, str(temporary))
    picture = write_picture(
        files.picture,
        Head.native(brain, mask),
        Head.registered(moved, template.grid_mask),
    )
    write_json({"scan_id": files.scan_id, **measures, "picture": picture}, files.measures)


def read_brain(image: Path, mask_file: Path) -> tuple[ants.ANTsImage, ants.ANTsImage]:
    """A skull-stripped scan, zero outside its mask, and the mask (uint8).

    Without a mask file the mask is that of the non-zero voxels.

    Raises:
        ScanRejected: image and mask lie on different grids, or the image is not a skull-stripped
            brain with positive intensities.
    """
    scan = read_scan(image)
    if mask_file.is_symlink() or mask_file.exists():
        inside = read_mask(mask_file, scan)
        if (covered := float(inside.mean())) > FULL:
            raise ScanRejected(
                f"the brain mask covers {covered:.0%} of the image: it is no brain's"
            )
    else:
        inside = scan.numpy() != 0
        nonzero = float(inside.mean())
        if nonzero > FULL:
            raise ScanRejected(
                f"{nonzero:.0%} of the voxels are not zero, so the scan is not skull-stripped, and "
                "there is no *_desc-brain_mask.nii.gz"
            )
    if not inside.any():
        raise ScanRejected("the brain mask is empty")
    values = scan.numpy() * inside
    if (values < 0).sum() > NEGATIVE * inside.sum():
        raise ScanRejected(
            f"{(values < 0).sum() / inside.sum():.0%} of the brain's voxels are negative, as of "
            "z-scores; scans must be as before that, zero outside the brain and positive inside"
        )
    values = np.maximum(values, 0)
    if not values.any():
        raise ScanRejected("the brain is empty: all its voxels are zero")
    return scan.new_image_like(values), as_mask(inside, scan)


def on_target_grid(
    brain: ants.ANTsImage,
    mask: ants.ANTsImage,
    grid: ants.ANTsImage,
    interpolation: str,
    prefilter: bool,
) -> tuple[ants.ANTsImage, ants.ANTsImage]:
    """Brain and mask on a grid of the same space; returned unchanged if they lie on it already."""
    if brain.shape == grid.shape and ants.image_physical_space_consistency(brain, grid):
        return brain, mask
    brain, near = crop_around(mask, MARGIN, brain, mask)
    moved = resample(brain, grid, [], interpolation, prefilter)
    return moved, resample_mask(near, grid, [], prefilter)


def _require_template_space(mask: ants.ANTsImage, template: ants.ANTsImage, space: str) -> None:
    """Raise :class:`ScanRejected` if the centre of the brain is far from that of the template."""
    distance = float(np.linalg.norm(points_of(mask).mean(0) - points_of(template).mean(0)))
    if distance > MAX_CENTRE_DISTANCE:
        raise ScanRejected(
            f"the brain's centre lies {distance:.0f} mm from the template's, so the scan is not in "
            f"the space {space}"
        )
