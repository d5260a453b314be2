"""Scans in and out: NIfTI on the template's grid to volumes of the models' shape, and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from ldae.data.volume_transform import StoreTransform
from ldae.errors import require
from ldae.files import atomic


def read_volume(path: str | Path, volumes: Mapping[str, Any]) -> tuple[torch.Tensor, np.ndarray]:
    """A preprocessed scan as the models see it: (1, 1, X, Y, Z) float32 in [0, 1], and its affine.

    Args:
        path: Brain-extracted scan in the template's space, as ``*_desc-brain_T1w.nii.gz``.
        volumes: config["volumes"] of the training: spacing, shape, interpolation.

    Raises:
        UserError: no such file, or an image without contrast.
    """
    require(Path(path).is_file(), f"The scan {path} does not exist.")
    transform = StoreTransform(
        volumes["spacing"], [int(n) for n in volumes["shape"]], volumes["interpolation"]
    )
    volume, affine = transform(Path(path))
    return volume[None], affine


def write_volume(volume: torch.Tensor, affine: np.ndarray, path: str | Path) -> None:
    """Write (X, Y, Z) float32 as NIfTI in mm, RAS."""
    image = nib.Nifti1Image(volume.cpu().numpy().astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    with atomic(path) as temporary:
        nib.save(image, temporary)
