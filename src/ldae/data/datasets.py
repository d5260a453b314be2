"""Data sets of training scans as tensors, for torch's data loader.

They draw no random numbers, so the number of loader processes does not change a training.
"""

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore


class Volumes(Dataset):
    """Volumes of the given rows: ``volume`` (1, X, Y, Z), float32 in [0, 1]."""

    def __init__(self, volumes: VolumeStore, rows: np.ndarray):
        self.volumes, self.rows = volumes, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        return {"volume": self.volumes.volume(int(self.rows[position]))}


class Latents(Dataset):
    """Scaled latents of the given rows: ``latent`` (C, *S), the posterior mean.

    If training draws from the posterior (``source`` is ``sample``), also ``std`` (C, *S).
    """

    def __init__(self, latents: LatentStore, rows: np.ndarray):
        self.latents, self.rows = latents, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        row = int(self.rows[position])
        item = {"latent": self.latents.latent(row)}
        if self.latents.source == "sample":
            item["std"] = self.latents.std(row)
        return item


class LatentsAndVolumes(Dataset):
    """Latents and volumes of the same rows; the keys of :class:`Latents` and :class:`Volumes`."""

    def __init__(self, latents: LatentStore, volumes: VolumeStore, rows: np.ndarray):
        self.latents, self.volumes = Latents(latents, rows), Volumes(volumes, rows)

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        return {**self.latents[position], **self.volumes[position]}


def labelled(index: pd.DataFrame, target: str, classes: list[str]) -> np.ndarray:
    """Mask (N,), bool, of a store's scans that the linear probes use (section 4.2).

    Age and sex must be known for every target, so all systems are compared on the same scans. For
    the target ``diagnosis``, the diagnosis must be one of ``classes``.
    """
    known = index["age"].notna() & index["sex"].isin(["M", "F"])
    if target == "diagnosis":
        known &= index["diagnosis"].isin(classes)
    return known.to_numpy()
