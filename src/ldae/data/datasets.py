"""Training scans as tensors. No random draw happens here, so loader processes change nothing."""

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore


class Volumes(Dataset):
    """``volume`` (1, X, Y, Z) of the given rows."""

    def __init__(self, volumes: VolumeStore, rows: np.ndarray):
        self.volumes, self.rows = volumes, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        return {"volume": self.volumes.volume(int(self.rows[position]))}


class Latents(Dataset):
    """``latent`` (C, *S), scaled, of the given rows; ``std`` too where samples are trained on."""

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
    """Both, of the same rows."""

    def __init__(self, latents: LatentStore, volumes: VolumeStore, rows: np.ndarray):
        self.latents, self.volumes = Latents(latents, rows), Volumes(volumes, rows)

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        return {**self.latents[position], **self.volumes[position]}


def labelled(index: pd.DataFrame, target: str, classes: list[str]) -> np.ndarray:
    """Mask (N,) of a store's scans with a label: those that the linear probes use (section 4.2).

    A known age and sex, so that all systems see the same scans, and for ``diagnosis`` one of the
    classes.
    """
    known = index["age"].notna() & index["sex"].isin(["M", "F"])
    if target == "diagnosis":
        known &= index["diagnosis"].isin(classes)
    return known.to_numpy()
