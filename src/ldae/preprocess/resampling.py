"""Grids and resampling: the template on the grids it is used on, and each scan's one sampling."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from ldae.errors import require
from ldae.preprocess._ants import ants

MARGIN = 12.0  # mm around the brain's mask: what a blur or a spline at its edge can reach
INTERPOLATORS = {"linear": "linear", "bspline": "bSpline"}


@dataclass(frozen=True)
class Template:
    """The template's brain (image times mask) on the grids it is used on, and its mask.

    Attributes:
        coarse_brain, coarse_mask: At the spacing of the estimate.
        grid_brain, grid_mask: On the target grid.
    """

    coarse_brain: ants.ANTsImage
    coarse_mask: ants.ANTsImage
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


def on_grid(image: ants.ANTsImage, spacing: float) -> ants.ANTsImage:
    """``image`` antialiased at ``spacing`` mm, in place; one that is coarser stays as it is."""
    if min(image.spacing) >= spacing:
        return image
    return resample(image, target_grid(image, spacing), [], "linear", prefilter=True)


def around(mask: ants.ANTsImage, margin: float, *images: ants.ANTsImage) -> list[ants.ANTsImage]:
    """``images`` cut to the box of ``mask`` and ``margin`` mm more, in place (one grid for all).

    A brain fills a quarter of its image: what follows works on the rest for nothing.
    """
    box = ndi.find_objects((mask.numpy() > 0).astype(np.uint8))[0]
    wide = np.ceil(margin / np.array(mask.spacing)).astype(int)
    low = np.maximum([side.start for side in box] - wide, 0)
    high = np.minimum([side.stop for side in box] + wide, mask.shape)
    return [ants.crop_indices(image, low.tolist(), high.tolist()) for image in images]


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
    coarse = on_grid(brain, estimate_spacing)
    return Template(
        coarse_brain=coarse,
        coarse_mask=resample_mask(mask, coarse, [], prefilter=True),
        grid_brain=resample(brain, target_grid(brain, spacing), [], "linear", prefilter=True),
        grid_mask=resample_mask(mask, target_grid(mask, spacing), [], prefilter=True),
    )
