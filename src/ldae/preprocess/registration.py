"""Registration of brains to the template: affine (section 4.1) or SyN, and one resampling."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.derivatives import ScanFiles, scan_files
from ldae.errors import UserError
from ldae.files import atomic, digest, sha256, write_json
from ldae.fingerprint import source_fingerprint
from ldae.preprocess._ants import ants
from ldae.preprocess.affine import register
from ldae.preprocess.qc_bounds import judge_of
from ldae.preprocess.qc_measures import measure
from ldae.preprocess.qc_picture import Head, write_picture
from ldae.preprocess.resampling import (
    INTERPOLATORS,
    MARGIN,
    Template,
    crop_around,
    load_template,
    resample,
    resample_mask,
)
from ldae.preprocess.shard_runner import ScanRejected, Step, run_step

TYPES = ("Affine", "SyN")


def run_registration(
    scans: pd.DataFrame,
    preproc_dir: str | Path,
    manifest: str | Path,
    cfg: Mapping[str, Any],
    volumes_cfg: Mapping[str, Any],
    earlier: str | Path,
    mriqc: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Register the scans of one shard, measure and draw them.

    Args:
        scans: Rows of scans.tsv.
        preproc_dir: Folder of the earlier steps; receives brain and mask on the target grid, the
            transform, ``*_desc-qc.json`` and ``*_desc-qc.webp``.
        manifest: Manifest to write. A scan outside the bounds of ``cfg["qc"]`` gets the status
            ``qc`` and keeps its files; changed bounds are applied without registering again.
        cfg: config["preprocess"].
        volumes_cfg: config["volumes"]: spacing (mm), interpolation, antialias.
        earlier: Manifest of the step before.
        mriqc: MRIQC's measures (scan_id, ``mriqc_*``), which bounds of ``cfg["qc"]`` may concern;
            None: there are none.

    Returns:
        The manifest.

    Raises:
        UserError: the template is missing, or a setting has an unknown value.
    """
    settings, spacing = cfg["registration"], float(volumes_cfg["spacing"])
    interpolation, prefilter = volumes_cfg["interpolation"], volumes_cfg["antialias"]
    for key, value, allowed in (
        ("preprocess.registration.type", settings["type"], TYPES),
        ("volumes.interpolation", interpolation, tuple(INTERPOLATORS)),
    ):
        if value not in allowed:
            raise UserError(f"{key} is {value!r}; allowed: {', '.join(allowed)}.")
    template = load_template(cfg["template"], spacing, float(settings["estimate_spacing"]))

    def run(files: ScanFiles) -> None:
        _register_scan(files, template, settings, interpolation, prefilter)

    depends = {
        "source": source_fingerprint(
            "preprocess.registration:_register_scan", "preprocess.resampling:load_template"
        ),
        "registration": dict(settings),
        "template": [sha256(cfg["template"][key]) for key in ("image", "mask")],
        "volumes": [spacing, interpolation, prefilter],
    }
    step = Step(
        name="registration",
        fingerprint=digest(depends),
        inputs=lambda files: [files.n4, files.brain, files.mask],
        outputs=lambda files: [
            files.registered_brain,
            files.registered_mask,
            files.transform,
            *([files.warp] if settings["type"] == "SyN" else []),
            files.picture,
            files.measures,
        ],
        run=run,
        qc_reason=judge_of(mriqc, cfg["qc"]),
    )
    files = scan_files(scans, preproc_dir, cfg["template"]["name"])
    return run_step(step, files, manifest, earlier)


def _register_scan(
    files: ScanFiles,
    template: Template,
    settings: Mapping[str, Any],
    interpolation: str,
    prefilter: bool,
) -> None:
    head, brain, mask = (ants.image_read(str(path)) for path in (files.n4, files.brain, files.mask))
    inside = brain.numpy()[mask.numpy() > 0]
    if not inside.any():
        raise ScanRejected("the brain image is empty")
    near_brain, near_mask = crop_around(mask, MARGIN, brain, mask)
    grid = template.grid_brain
    with tempfile.TemporaryDirectory() as folder:
        found = register(near_brain, near_mask, template, settings, Path(folder))
        moved = resample(near_brain, grid, found.transforms, interpolation, prefilter)
        moved_mask = resample_mask(near_mask, grid, found.transforms, prefilter)
        measures = measure(brain, mask, moved, moved_mask, grid, template.grid_mask, found.affine)
        for transform in map(Path, found.transforms):
            with atomic(files.transform if transform.suffix == ".mat" else files.warp) as temporary:
                shutil.copyfile(transform, temporary)
    for image, path in ((moved, files.registered_brain), (moved_mask, files.registered_mask)):
        with atomic(path) as temporary:
            ants.image_write(image, str(temporary))
    picture = write_picture(
        files.picture,
        Head.native(head, mask),
        Head.registered(moved, template.grid_mask),
    )
    written = {"scan_id": files.scan_id, **measures, "picture": picture}
    write_json(written | {"attempts": found.attempts}, files.measures)
