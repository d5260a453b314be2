"""Resizing of stored volumes to another grid: the voxel-space DAE has a resolution of its own."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldae.data.volume_store import VolumeStore
from ldae.errors import require

Resize = Literal["resample", "crop"]
METHODS = ("resample", "crop")


class Resizer:
    """Resizes volumes from the store's grid to another one, and back.

    ``resample`` fits the same field of view into another number of voxels (trilinear), as the
    paper's Table 6 says ("we resized the scans"). ``crop`` keeps the voxel size and crops or pads
    with zeros, centred; cropped voxels are zero on the way back.

    Args:
        whole: Spatial shape of the store's volumes (X, Y, Z).
        shape: Spatial shape on the other grid.
        method: ``resample`` or ``crop``.

    Raises:
        UserError: ``method`` is neither of the two.
    """

    def __init__(self, whole: tuple[int, int, int], shape: list[int], method: Resize):
        require(
            method in METHODS,
            f"dae.resize is {method!r}; allowed are {', '.join(METHODS)}.",
        )
        self.whole, self.shape, self.method = tuple(whole), tuple(shape), method

    def there(self, x: Tensor) -> Tensor:
        """Resize volumes (B, 1, X, Y, Z) of the store to the other grid."""
        return self._bring(x, self.shape)

    def back(self, x: Tensor) -> Tensor:
        """Resize volumes (B, 1, X, Y, Z) of the other grid to that of the store."""
        return self._bring(x, self.whole)

    def _bring(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        if self.method == "resample":
            return F.interpolate(x, shape, mode="trilinear", align_corners=False)
        margins = []
        for side, wanted in reversed(list(zip(x.shape[2:], shape, strict=True))):
            before = int((wanted - side) / 2)  # negative: crop. int() truncates, so back undoes it
            margins += [before, wanted - side - before]
        return F.pad(x, margins)


class ResizedVolumes:
    """Volumes of a store, resized by a :class:`Resizer` when they are read by row.

    Args:
        store: The store.
        shape, method: As in :class:`Resizer`.
    """

    def __init__(self, store: VolumeStore, shape: list[int], method: Resize):
        self.store, self.resizer = store, Resizer(store.shape, shape, method)
        self.shape = self.resizer.shape

    def volume(self, row: int) -> Tensor:
        """One volume (1, X, Y, Z), float32 in [0, 1]."""
        return self.resized(self.store.volume(row))

    def resized(self, x: Tensor) -> Tensor:
        """A volume (1, X, Y, Z) of the store on the other grid."""
        return self.resizer.there(x[None])[0]

    def volumes(self, rows: np.ndarray) -> Tensor:
        """Volumes (B, 1, X, Y, Z), float32 in [0, 1]."""
        return torch.stack([self.volume(int(row)) for row in rows])
