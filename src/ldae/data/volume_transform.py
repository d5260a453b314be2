"""Volume transform: a registered image on the store's grid, in [0, 1], in its number format.

torch and MONAI are imported where they are used: packing registered scans needs neither, and their
import takes longer than packing a scan.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ldae.errors import UserError, require
from ldae.nifti import NOT_REAL, ImageUnreadable, geometry_fault, is_real, read_image

if TYPE_CHECKING:
    import torch
    from monai.transforms import Compose, LoadImage
    from nibabel import Nifti1Image

STEPS = {"uint8": 255}  # stored value of an intensity of 1, in formats where it is not 1
SPLINE = {"bspline": 3, "linear": "bilinear"}  # MONAI: an integer is a spline order


def to_stored(volume: np.ndarray, dtype: str) -> np.ndarray:
    """A float32 volume in [0, 1] as ``dtype``: float16, float32, or uint8 in steps of 1/255."""
    steps = STEPS.get(dtype)
    return (volume if steps is None else np.rint(volume * steps)).astype(dtype)


def from_stored(array: np.ndarray) -> "torch.Tensor":
    """A stored volume as a new float32 tensor in [0, 1]."""
    import torch

    # torch widens float16 four times as fast as numpy does.
    volume = torch.from_numpy(np.array(array)).float()
    steps = STEPS.get(str(array.dtype))
    return volume if steps is None else volume.div_(steps)


def stored_intensities(array: np.ndarray) -> np.ndarray:
    """The same numbers as :func:`from_stored`, as an array."""
    volume = np.array(array, np.float32)
    steps = STEPS.get(str(array.dtype))
    return volume if steps is None else volume / np.float32(steps)


class StoreTransform:
    """Load an image and bring it to the store's grid and range.

    One pass of the paper's inference-time normalisation (section 4.1): RAS orientation, voxel
    spacing, centred crop or pad to the target shape, min-max to [0, 1]. An image that has this
    orientation and spacing already, as registration writes it, is only cropped and padded. Any
    other is interpolated, once, by MONAI. The volume is clamped at zero before min-max, because the
    undershoot of a cubic spline would lift the background.

    Args:
        spacing: Voxel size of the store, mm.
        shape: Spatial shape of the store (X, Y, Z).
        interpolation: A key of ``SPLINE``.

    Raises:
        UserError: ``interpolation`` is unknown.
    """

    def __init__(self, spacing: float, shape: Sequence[int], interpolation: str):
        require(
            interpolation in SPLINE,
            f"volumes.interpolation is {interpolation!r}; allowed are {', '.join(SPLINE)}.",
        )
        self.spacing, self.shape, self.interpolation = spacing, shape, interpolation

    def __call__(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return the volume (1, X, Y, Z) float32 in [0, 1] and its affine (4, 4).

        Raises:
            UserError: the file is damaged, or the image has no contrast or values that are not
                finite.
        """
        values, affine = self.on_grid(path)
        if lost := int((~np.isfinite(values)).sum()):
            raise UserError(f"{path} has {lost:,} voxels that are not finite numbers")
        if values.max() <= max(0.0, values.min()):
            raise UserError(f"{path} has no contrast: it is constant, or has no value above 0")
        values = np.where(values > 0, values, np.float32(0))  # also -0 becomes 0
        low, high = values.min(), values.max()
        return (values - low) / (high - low), affine

    def on_grid(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return the image (1, X, Y, Z) float32 on the grid, in its own range, and its affine.

        Raises:
            UserError: the file is damaged.
        """
        try:
            image, values = read_image(path)
        except ImageUnreadable as error:
            raise UserError(f"{path}: {error}") from error
        if not is_real(values.dtype):
            raise UserError(f"{path}: {NOT_REAL}")
        if values.ndim != 3:
            raise UserError(f"{path} has the shape {values.shape}: one 3-D volume is expected")
        if fault := geometry_fault(image):
            raise UserError(f"{path}: {fault}")
        if self._has_spacing(image):
            return self._crop_or_pad(values.astype(np.float32)[None], image.affine)
        load, resample = self._monai
        try:
            loaded = load(str(path))
        except RuntimeError as error:  # of MONAI's readers, all of which have failed
            raise UserError(f"{path} cannot be read as an image") from error
        resampled = resample(loaded)
        return self._crop_or_pad(resampled.numpy(), np.asarray(resampled.affine))

    def _has_spacing(self, image: "Nifti1Image") -> bool:
        """Whether a 3-D image has RAS orientation and the store's spacing already."""
        axes = np.diag([self.spacing] * 3)
        return (
            image.ndim == 3
            and np.allclose(image.affine[:3, :3], axes)
            and np.allclose(image.header.get_zooms(), self.spacing)
        )

    @cached_property
    def _monai(self) -> "tuple[LoadImage, Compose]":
        """MONAI's loader, and its change of orientation and spacing to those of the store."""
        from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation, Spacing

        mode = SPLINE[self.interpolation]
        resample = [
            EnsureChannelFirst(),
            Orientation(axcodes="RAS", labels=None),
            Spacing(pixdim=(self.spacing,) * 3, mode=mode, padding_mode="constant"),
        ]
        return LoadImage(reader="NibabelReader", image_only=True), Compose(resample)

    def _crop_or_pad(self, values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crop and pad (C, X, Y, Z) about the centre, with zeros; and the affine of the result."""
        sizes = list(zip(values.shape[1:], self.shape, strict=True))
        starts = [max(size // 2 - wanted // 2, 0) for size, wanted in sizes]
        lacking = [max(wanted - size, 0) for size, wanted in sizes]
        cut = (slice(start, start + n) for start, n in zip(starts, self.shape, strict=True))
        padding = [(0, 0), *((n // 2, n - n // 2) for n in lacking)]
        shift = np.eye(4)
        shift[:3, 3] = [start - n // 2 for start, n in zip(starts, lacking, strict=True)]
        return np.ascontiguousarray(np.pad(values[:, *cut], padding)), affine @ shift
