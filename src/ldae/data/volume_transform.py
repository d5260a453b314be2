"""Volume transform: a registered image on the store's grid, in [0, 1], in its number format."""

import zlib
from pathlib import Path

import numpy as np
import torch

from ldae.errors import UserError, require

STEPS = {"uint8": 255}  # stored value of an intensity of 1, in formats where it is not 1
SPLINE = {"bspline": 3, "linear": "bilinear"}  # MONAI: an integer is a spline order


def to_stored(volume: np.ndarray, dtype: str) -> np.ndarray:
    """A float32 volume in [0, 1] as ``dtype``: float16, float32, or uint8 in steps of 1/255."""
    steps = STEPS.get(dtype)
    return (volume if steps is None else np.rint(volume * steps)).astype(dtype)


def from_stored(array: np.ndarray) -> torch.Tensor:
    """A stored volume as a new float32 tensor in [0, 1]."""
    # torch widens float16 four times as fast as numpy does.
    volume = torch.from_numpy(np.array(array)).float()
    steps = STEPS.get(str(array.dtype))
    return volume if steps is None else volume.div_(steps)


class StoreTransform:
    """Load an image and bring it to the store's grid and range.

    One pass of the paper's inference-time normalisation (section 4.1): RAS orientation, voxel
    spacing, centred crop or pad to the target shape, min-max to [0, 1]. ``Spacing`` does not
    resample an image that is on the grid already, as registration writes it. So each image is
    interpolated only once. The volume is clamped at zero before min-max, because the undershoot of
    a cubic spline would lift the background.

    Args:
        spacing: Voxel size of the store, mm.
        shape: Spatial shape of the store (X, Y, Z).
        interpolation: A key of ``SPLINE``.

    Raises:
        UserError: ``interpolation`` is unknown.
    """

    def __init__(self, spacing: float, shape: list[int], interpolation: str):
        from monai.transforms import (
            Compose,
            EnsureChannelFirst,
            LoadImage,
            Orientation,
            ResizeWithPadOrCrop,
            Spacing,
        )

        require(
            interpolation in SPLINE,
            f"volumes.interpolation is {interpolation!r}; allowed are {', '.join(SPLINE)}.",
        )
        self.load = LoadImage(reader="NibabelReader", image_only=True)
        self.compose = Compose(
            [
                EnsureChannelFirst(),
                Orientation(axcodes="RAS", labels=None),
                Spacing(pixdim=(spacing,) * 3, mode=SPLINE[interpolation], padding_mode="constant"),
                ResizeWithPadOrCrop(spatial_size=shape, mode="constant"),
            ]
        )

    def __call__(self, path: Path) -> tuple[torch.Tensor, np.ndarray]:
        """Return the volume (1, X, Y, Z) float32 in [0, 1] and its affine (4, 4).

        Raises:
            UserError: the file is damaged, or the image has no contrast or values that are not
                finite.
        """
        from monai.transforms import ScaleIntensity

        try:
            image = self.load(str(path))
        except (OSError, EOFError, RuntimeError, zlib.error) as error:
            raise UserError(f"{path} cannot be read as an image") from error
        image = self.compose(image)
        values = image.as_tensor().float()
        if not torch.isfinite(values).all() or values.max() <= max(0.0, float(values.min())):
            raise UserError(f"{path} has no contrast or holds values that are not finite")
        return ScaleIntensity(minv=0.0, maxv=1.0)(values.clamp_min(0)), np.asarray(image.affine)
