"""Latent store: the autoencoder's posterior of every volume, and one scale for all latents.

Mean and standard deviation of the posterior are stored unscaled. ``scale`` is one number, 1/std
over the latents of the training split (the paper takes the first batch). It is stored in every
model trained on the latents.
Layout of a store, besides the tables (:mod:`ldae.data.store`): ``mean.npy`` and ``std.npy``
(N, C, *S) float32, in the order of the volume store. :mod:`ldae.inference.latents` builds it.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ldae.data.store import Store, open_array
from ldae.data.volume_store import VolumeStore
from ldae.errors import require

if TYPE_CHECKING:
    import torch

MOMENTS = ("mean", "std")


class LatentStore(Store):
    """Reader of a latent store. ``scale`` multiplies raw latents to unit variance.

    Args:
        folder: The store.
        autoencoder_sha256: When given, SHA-256 of the autoencoder that must have made the store.
        volumes: When given, the volume store that it must have been made from.
        scale: When given, used instead of the store's own. A trained model needs the scale of its
            training, even after more scans have changed that of the store.

    Raises:
        UserError: the files disagree, or the store was made by another autoencoder or from another
            volume store.
    """

    made_by = "latents"

    def __init__(
        self,
        folder: str | Path,
        autoencoder_sha256: str | None = None,
        volumes: VolumeStore | None = None,
        scale: float | None = None,
    ):
        super().__init__(folder)
        self._scale: float = self.card["scale"] if scale is None else scale
        remake = "Remake them: the target `latents`."
        require(
            autoencoder_sha256 in (None, self.card["autoencoder"]),
            f"The latents in {folder} were made by another autoencoder. {remake}",
        )
        require(
            volumes is None or volumes.content_hash == self.card["volumes"],
            f"The latents in {folder} were made from another volume store. {remake}",
        )
        self._open()

    def _open(self) -> None:
        self._mean, self._std = (
            open_array(
                self.folder / f"{name}.npy", self.card["shape"], self.card["dtype"], self.again
            )
            for name in MOMENTS
        )

    def __getstate__(self) -> dict[str, Any]:
        """State without the memory maps: a loader process that is not forked opens its own."""
        return {name: value for name, value in self.__dict__.items() if name not in _MAPS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one latent: (C, *S)."""
        return tuple(self.card["shape"][1:])

    @property
    def scale(self) -> float:
        """1/std of the training split's latents: of this store, unless another was given."""
        return self._scale

    @property
    def source(self) -> str:
        """Latents used in training: the posterior ``mean``, or a new ``sample`` at each step."""
        return self.card["source"]

    @property
    def variance(self) -> str:
        """Variance that the scale sets to 1: of ``all`` numbers, or ``between_scans``."""
        return self.card.get("variance", "all")  # absent in older stores

    def latent(self, row: int) -> "torch.Tensor":
        """Scaled posterior mean (C, *S), float32."""
        import torch  # not above: a store is described and joined without it

        return self.scale * torch.from_numpy(self._mean[row].copy())

    def std(self, row: int) -> "torch.Tensor":
        """Scaled posterior standard deviation (C, *S), float32."""
        import torch

        return self.scale * torch.from_numpy(self._std[row].copy())

    def latents(self, rows: np.ndarray) -> "torch.Tensor":
        """Scaled posterior means (B, C, *S), float32."""
        import torch

        return torch.stack([self.latent(int(row)) for row in rows])

    def arrays(self) -> list[str]:
        """The files of the posterior mean and standard deviation."""
        return [f"{name}.npy" for name in MOMENTS]

    def row_hash(self, row: int) -> str:
        """SHA-256 of a row's posterior mean and standard deviation as they are on disk."""
        return moments_hash(self._mean[row], self._std[row])


_MAPS = ("_mean", "_std")


def moments_hash(mean: np.ndarray, std: np.ndarray) -> str:
    """SHA-256 of a scan's posterior mean and standard deviation, (C, *S) each."""
    total = hashlib.sha256(np.ascontiguousarray(mean))
    total.update(np.ascontiguousarray(std))
    return total.hexdigest()
