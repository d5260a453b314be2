"""Affine registration of the brain to the template and its one resampling (section 4.1)."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.errors import UserError, require
from ldae.files import atomic, digest, read_json, sha256, write_json
from ldae.fingerprint import source_fingerprint
from ldae.preprocess._ants import ants
from ldae.preprocess.batch import ScanRejected, Step, run_step
from ldae.preprocess.picture import Head, write_picture
from ldae.preprocess.quality import judge, measure
from ldae.preprocess.scan_files import ScanFiles, scan_files

TYPES = ("Rigid", "Similarity", "Affine", "AffineFast", "TRSAA", "SyN")
INTERPOLATORS = {"linear": "linear", "bspline": "bSpline"}


@dataclass(frozen=True)
class Template:
    """The template's brain (image times mask) on the grids it is used on, and its mask.

    Attributes:
        coarse_brain: At the spacing of the estimate.
        grid_brain, grid_mask: On the target grid.
    """

    coarse_brain: ants.ANTsImage
    grid_brain: ants.ANTsImage
    grid_mask: ants.ANTsImage


def target_grid(template: ants.ANTsImage, spacing: float) -> ants.ANTsImage:
    """An empty image that covers the template's field of view at ``spacing`` mm, isotropic.

    The grid has the template's orientation and its centre, and just as many voxels as cover its
    extent: 193 x 229 x 193 at 1 mm becomes 129 x 153 x 129 at 1.5 mm. A template already at
    ``spacing`` gives its own grid.
    """
    size = np.array(template.shape)
    old = np.array(template.spacing)
    count = np.ceil(size * old / spacing - 1e-6).astype(int)
    shift = old * (size - 1) / 2 - spacing * (count - 1) / 2  # mm along the grid's own axes
    origin = np.array(template.origin) + template.direction @ shift
    return ants.from_numpy(
        np.zeros(count, np.float32),
        origin=tuple(origin),
        spacing=(spacing,) * 3,
        direction=template.direction,
    )


def antialias(image: ants.ANTsImage, spacing: float) -> ants.ANTsImage:
    """Blur ``image`` so that it can be sampled every ``spacing`` mm; finer axes stay as they are.

    The Gaussian turns a voxel's point-spread function of the native width into one of the target
    width, both taken as Gaussians of that full width at half maximum (Cardoso et al. 2015).
    """
    native = np.array(image.spacing)
    fwhm = np.sqrt(np.clip(spacing**2 - native**2, 0, None))
    sigma = fwhm / (2 * np.sqrt(2 * np.log(2)))
    if not sigma.any():
        return image
    return ants.smooth_image(image, tuple(sigma), sigma_in_physical_coordinates=True)


def resample(
    image: ants.ANTsImage,
    grid: ants.ANTsImage,
    transforms: list[str],
    interpolation: str,
    prefilter: bool,
) -> ants.ANTsImage:
    """Sample ``image`` on ``grid``, once.

    A spline overshoots at the brain's edge and rings far from it: negative voxels, and those below
    0.1 % of the maximum, become 0, so that the background stays exactly 0.
    """
    if prefilter:
        image = antialias(image, min(grid.spacing))
    moved = ants.apply_transforms(
        grid, image, transforms, interpolator=INTERPOLATORS[interpolation], defaultvalue=0
    )
    values = moved.numpy()
    return moved.new_image_like(np.where(values < 1e-3 * values.max(), 0, values))


def resample_mask(
    mask: ants.ANTsImage, grid: ants.ANTsImage, transforms: list[str], prefilter: bool
) -> ants.ANTsImage:
    """Sample a binary mask on ``grid``: linear, then at least one half; uint8."""
    moved = resample(mask.clone("float"), grid, transforms, "linear", prefilter)
    return (moved >= 0.5).clone("unsigned char")


def estimate(brain: ants.ANTsImage, template: ants.ANTsImage, kind: str, prefix: str) -> list[str]:
    """Register ``brain`` to ``template`` at the template's spacing.

    2 to 3 mm suffice: an estimate at 1 mm differs by 0.2-0.5 mm and takes ten times as long.

    Returns:
        Files of the transforms that take ``brain`` to ``template``, in ANTs' order, named by
        ``prefix``.
    """
    spacing = template.spacing[0]
    if min(brain.spacing) < spacing:
        brain = on_grid(brain, spacing)
    result = ants.registration(template, brain, type_of_transform=kind, outprefix=prefix)
    return result["fwdtransforms"]


def on_grid(image: ants.ANTsImage, spacing: float) -> ants.ANTsImage:
    """``image`` antialiased at ``spacing`` mm, in place."""
    return resample(image, target_grid(image, spacing), [], "linear", prefilter=True)


def load_template(cfg: Mapping[str, Any], spacing: float, estimate_spacing: float) -> Template:
    """Read config["preprocess"]["template"] and put it on the grids of the target and the estimate.

    Raises:
        UserError: a file is missing, or image and mask differ in shape.
    """
    for key in ("image", "mask"):
        require(
            Path(cfg[key]).is_file(),
            f"The template file {cfg[key]} (preprocess.template.{key}) does not exist. Run "
            "`snakemake resources` on a machine with internet, or name your own file there.",
        )
    image, mask = (ants.image_read(str(cfg[key])) for key in ("image", "mask"))
    require(
        image.shape == mask.shape,
        f"The template {cfg['image']} has shape {image.shape}, its mask {cfg['mask']} "
        f"{mask.shape}; preprocess.template needs two files of one grid.",
    )
    mask = mask.new_image_like((mask.numpy() > 0.5).astype(np.float32))
    brain = image * mask
    return Template(
        coarse_brain=on_grid(brain, estimate_spacing),
        grid_brain=on_grid(brain, spacing),
        grid_mask=resample_mask(mask, target_grid(mask, spacing), [], prefilter=True),
    )


def run_registration(
    scans: pd.DataFrame,
    preproc_dir: str | Path,
    manifest_in: str | Path,
    manifest: str | Path,
    cfg: Mapping[str, Any],
    volumes_cfg: Mapping[str, Any],
) -> pd.DataFrame:
    """Register the scans of one shard, measure and draw them.

    Args:
        scans: Rows of scans.tsv.
        preproc_dir: Folder of the earlier steps; writes the brain and mask on the target grid, the
            transform, ``*_desc-qc.json`` and ``*_desc-qc.png``.
        manifest_in: Manifest of the brain extraction.
        manifest: Manifest to write. A scan outside the bounds of ``cfg["qc"]`` is ``failed``, but
            keeps its files; changed bounds are applied without registering again.
        cfg: config["preprocess"].
        volumes_cfg: config["volumes"]: spacing (mm), interpolation, antialias.

    Raises:
        UserError: the template is missing, or a setting has a value that does not exist.
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
        head, brain, mask = (
            ants.image_read(str(path)) for path in (files.n4, files.brain, files.mask)
        )
        if not brain.numpy().any():
            raise ScanRejected("the brain image is empty")
        with tempfile.TemporaryDirectory() as folder:
            transforms = estimate(brain, template.coarse_brain, settings["type"], f"{folder}/x")
            grid = template.grid_brain
            moved = resample(brain, grid, transforms, interpolation, prefilter)
            moved_mask = resample_mask(mask, grid, transforms, prefilter)
            measures = measure(
                brain, mask, moved, moved_mask, template.grid_brain, template.grid_mask, transforms
            )
            for transform in map(Path, transforms):
                with atomic(
                    files.transform if transform.suffix == ".mat" else files.warp
                ) as temporary:
                    shutil.copyfile(transform, temporary)
        for image, path in ((moved, files.registered_brain), (moved_mask, files.registered_mask)):
            with atomic(path) as temporary:
                ants.image_write(image, str(temporary))
        write_picture(
            files.picture,
            Head(head, mask, limit=float(np.percentile(brain.numpy()[mask.numpy() > 0], 99))),
            Head(moved, template.grid_mask, limit=float(np.percentile(moved.numpy(), 99.5))),
            f"{files.scan_id}   brain {measures['brain_ml']:.0f} ml   "
            f"Dice {measures['dice']:.3f}   NCC {measures['ncc']:.3f}   "
            f"det {measures['affine_determinant']:.2f}   SNR {measures['snr']:.1f}",
        )
        write_json({"scan_id": files.scan_id, **measures}, files.measures)

    depends = {
        "source": source_fingerprint(
            *(f"preprocess/{name}.py" for name in ("registration", "quality", "picture", "_ants"))
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
            files.measures,
            files.picture,
        ],
        run=run,
        verdict=lambda files: judge(read_json(files.measures), cfg["qc"]),
    )
    files = scan_files(scans, preproc_dir, cfg["template"]["name"])
    return run_step(step, files, manifest, earlier=manifest_in)
