"""Resampling: target grid, antialiasing, and the template on the grids where it is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from ldae.errors import require
from ldae.preprocess._ants import ants

MARGIN = 12.0  # mm around the brain mask: the reach of a blur or a spline at its edge
INTERPOLATORS = {"linear": "linear", "bspline": "bSpline"}


@dataclass(frozen=True)
class Template:
    """The template's brain (image times mask) and its mask, on two grids.

    Attributes:
        coarse_brain, coarse_mask: At the spacing at which transforms are estimated.
        grid_brain, grid_mask: On the target grid.
    """

    coarse_brain: ants.ANTsImage
    coarse_mask: ants.ANTsImage
    grid_brain: ants.ANTsImage
    grid_mask: ants.ANTsImage


def target_grid(template: ants.ANTsImage, spacing: float) -> ants.ANTsImage:
    """An empty image that covers the template's field of view at ``spacing`` mm, isotropic.

    The grid has the template's orientation and centre, and as few voxels as cover its extent:
    193 x 229 x 193 at 1 mm becomes 129 x 153 x 129 at 1.5 mm. A template already at ``spacing``
    gives its own grid.
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
    """Blur ``image`` for sampling every ``spacing`` mm; axes that are coarser stay as they are.

    The blur turns the point-spread function of a native voxel into that of a target voxel. Both are
    taken as Gaussians whose full width at half maximum is the voxel size (Cardoso et al. 2015).
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

    A spline overshoots at the brain's edge and rings far from it. Voxels below 0.1 % of the
    maximum, also negative ones, become 0, so the background stays exactly 0.

    Args:
        image: The image.
        grid: Image whose grid is the target.
        transforms: Files from the image to the space of ``grid``, in ANTs' order; empty: identity.
        interpolation: A key of ``INTERPOLATORS``.
        prefilter: Whether to blur the image against aliasing (:func:`antialias`).
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
    """Sample a binary mask on ``grid`` (linear, threshold 0.5); uint8."""
    moved = resample(mask.clone("float"), grid, transforms, "linear", prefilter)
    return (moved >= 0.5).clone("unsigned char")


def at_spacing(image: ants.ANTsImage, spacing: float) -> ants.ANTsImage:
    """``image`` resampled to ``spacing`` mm in its own space; a coarser one is left as it is."""
    if min(image.spacing) >= spacing:
        return image
    return resample(image, target_grid(image, spacing), [], "linear", prefilter=True)


def crop_around(
    mask: ants.ANTsImage, margin: float, *images: ants.ANTsImage
) -> list[ants.ANTsImage]:
    """Crop ``images`` to the box of ``mask`` plus ``margin`` mm; all have one grid.

    Their voxels keep their positions in space. A brain fills a quarter of its image, so later
    steps save the time for the rest.
    """
    box = ndi.find_objects((mask.numpy() > 0).astype(np.uint8))[0]
    wide = np.ceil(margin / np.array(mask.spacing)).astype(int)
    low = np.maximum([side.start for side in box] - wide, 0)
    high = np.minimum([side.stop for side in box] + wide, mask.shape)
    return [ants.crop_indices(image, low.tolist(), high.tolist()) for image in images]


def load_template(cfg: Mapping[str, Any], spacing: float, estimate_spacing: float) -> Template:
    """Read config["preprocess"]["template"] and resample it to the target grid and a coarse one.

    Args:
        cfg: Paths of the template: image, mask.
        spacing: Of the target grid, mm.
        estimate_spacing: At which transforms are estimated, mm.

    Raises:
        UserError: a file is missing, or image and mask differ in shape.
    """
    for key in ("image", "mask"):
        require(
            Path(cfg[key]).is_file(),
            f"The template file {cfg[key]} (preprocess.template.{key}) does not exist. Run "
            "the target `resources` on a machine with internet, or name your own file there.",
        )
    image, mask = (ants.image_read(str(cfg[key])) for key in ("image", "mask"))
    require(
        image.shape == mask.shape,
        f"The template {cfg['image']} has shape {image.shape}, its mask {cfg['mask']} "
        f"{mask.shape}; preprocess.template needs two files of one grid.",
    )
    mask = mask.new_image_like((mask.numpy() > 0.5).astype(np.float32))
    brain = image * mask
    coarse = at_spacing(brain, estimate_spacing)
    return Template(
        coarse_brain=coarse,
        coarse_mask=resample_mask(mask, coarse, [], prefilter=True),
        grid_brain=resample(brain, target_grid(brain, spacing), [], "linear", prefilter=True),
        grid_mask=resample_mask(mask, target_grid(mask, spacing), [], prefilter=True),
    )
