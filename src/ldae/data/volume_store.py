"""Volume store: every included registered scan as a memory-mapped array, ready for a network.

Layout of a store, besides the tables (:mod:`ldae.data.store`)::

    shards/shard-{k}.npy    (n, 1, X, Y, Z) in [0, 1], or 0 to 255 as uint8: scans of one shard
    shards/shard-{k}.json   description: settings, affine, and each scan's image and checksums

A shard also holds scans that are not used, so a rater's decision or other splits move no data. The
columns ``file`` and ``file_row`` of index.tsv give the place of a used scan's array.
:mod:`ldae.data.volume_packing` packs the shards, :mod:`ldae.data.volume_index` makes the tables.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ldae.data.store import Store, open_array
from ldae.data.thumbnails import THUMBNAIL
from ldae.data.volume_transform import from_stored

if TYPE_CHECKING:
    import torch


class VolumeStore(Store):
    """Reader of a volume store. ``index`` is its table, in the order of the rows.

    Raises:
        UserError: the store is unfinished, its files disagree, or a participant is in two splits.
    """

    made_by = "volumes"
    columns = ("file", "file_row", THUMBNAIL)

    def __init__(self, folder: str | Path):
        super().__init__(folder)
        self._file = self.index["file"].tolist()
        self._file_row = self.index["file_row"].tolist()
        self._maps: dict[str, np.ndarray] = {}
        for row in self.index.groupby("file")["file_row"].idxmax():
            self._array(int(row))

    def __getstate__(self) -> dict[str, Any]:
        """State without the memory maps: a loader process that is not forked opens its own."""
        return self.__dict__ | {"_maps": {}}

    def _array(self, row: int) -> np.ndarray:
        """The array (1, X, Y, Z) of a row as it is on disk; its file is mapped at first use."""
        file, file_row = self._file[row], self._file_row[row]
        if file not in self._maps:
            shape = (file_row + 1, *self.card["shape"][1:])
            path = self.folder / file
            self._maps[file] = open_array(path, shape, self.card["dtype"], self.again)
        return self._maps[file][file_row]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape of a volume, voxels."""
        return tuple(self.card["shape"][2:])

    @property
    def spacing(self) -> float:
        """Voxel size, mm."""
        return self.card["spacing"]

    @property
    def affine(self) -> np.ndarray:
        """Voxel to RAS mm, (4, 4)."""
        return np.asarray(self.card["affine"])

    def volume(self, row: int) -> "torch.Tensor":
        """One volume (1, X, Y, Z), float32 in [0, 1]."""
        return from_stored(self._array(row))

    def volumes(self, rows: np.ndarray) -> "torch.Tensor":
        """Volumes (B, 1, X, Y, Z), float32 in [0, 1]."""
        import torch  # not above: the tables of a store are read without it

        return torch.stack([self.volume(int(row)) for row in rows])

    def arrays(self) -> list[str]:
        """Array files of the shards that hold scans of the index."""
        return sorted(set(self._file))

    def row_hash(self, row: int) -> str:
        """SHA-256 of the volume as it is on disk."""
        return hashlib.sha256(self._array(row)).hexdigest()


class ByRow(Protocol):
    """Source of volumes by row: a store, or a store resized to another grid."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape of a volume, voxels."""

    def volumes(self, rows: np.ndarray) -> "torch.Tensor":
        """Volumes (B, 1, X, Y, Z), float32 in [0, 1]."""
