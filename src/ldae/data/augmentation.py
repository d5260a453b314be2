"""Augmentation: training scans with small random changes, as the encoders see them.

What an encoder has to tell from a scan shall not depend on how the head lay, on the receive coils
or on the scanner's noise. So its input is moved, shaded, brightened and made noisy at random by
MONAI's transforms, within the strengths of section ``augmentation``. What it is compared with (a
latent, a diffused volume, a label) stays that of the scan as it is.

A change depends on the seed and on the scan's place in the sequence of the training alone: neither
an interruption nor the numbers of loader and training processes change it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ldae.data.volume_store import VolumeStore
from ldae.seeds import derive_seed

SEEN = "seen"  # an item's changed volume, beside ``volume``
Placed = tuple[int, int]  # position of a scan in a data set, place in the training's sequence


class Augmentation:
    """Random changes of one volume, each drawn or left out by its seed.

    In order: a small affine transform about the grid's centre, a flip of left and right; then, in
    the brain alone, contrast (a power of the intensity), bias field (the exponential of a
    polynomial of degree 3) and noise. Voxels outside the brain stay 0, inside they stay in [0, 1].

    Args:
        settings: Section ``augmentation``. ``probability`` is the chance of each change but the
            flip, which has its own; a strength of 0 leaves a change out.
        spacing: Voxel size in mm.
    """

    def __init__(self, settings: Mapping[str, Any], spacing: float):
        from monai import transforms as known

        chance = settings["probability"]
        affine = {
            "rotate_range": (settings["rotation"] * torch.pi / 180,) * 3,
            "translate_range": (settings["translation"] / spacing,) * 3,
            "scale_range": (settings["scaling"],) * 3,
        }
        self.spatial, self.intensity = [], []
        if any(strength > 0 for strengths in affine.values() for strength in strengths):
            moved = known.RandAffine(chance, **affine, mode="bilinear", padding_mode="zeros")
            self.spatial.append(moved)
        if settings["flip"] > 0:
            self.spatial.append(known.RandFlip(settings["flip"], spatial_axis=0))
        if settings["contrast"] > 0:
            powers = (1 / (1 + settings["contrast"]), 1 + settings["contrast"])
            self.intensity.append(known.RandAdjustContrast(chance, powers))
        if settings["bias_field"] > 0:
            reach = (-settings["bias_field"], settings["bias_field"])
            self.intensity.append(known.RandBiasField(coeff_range=reach, prob=chance))
        if settings["noise"] > 0:
            self.intensity.append(known.RandGaussianNoise(chance, std=settings["noise"]))

    def __call__(self, x: Tensor, seed: int) -> Tensor:
        """Change a volume (1, X, Y, Z) in [0, 1], axes in RAS+ order; ``x`` stays as it is."""
        seen = self._apply(self.spatial, x, seed)
        brain = seen > 0
        seen = self._apply(self.intensity, seen, seed)
        return (seen * brain).clamp(0, 1)

    def _apply(self, changes: list, x: Tensor, seed: int) -> Tensor:
        from monai.utils import convert_to_tensor

        for change in changes:
            change.set_random_state(derive_seed(seed, type(change).__name__) % 2**32)
            x = change(x)
        return convert_to_tensor(x, dtype=torch.float32, track_meta=False)


class Augmented(Dataset):
    """Items of a data set with ``volume``, and beside it ``seen``, the volume as it is changed.

    Its items are asked for by (position, place): see
    :meth:`ldae.data.sampling.Sampler.micro_batches`.

    Args:
        dataset: Items with ``volume`` (1, X, Y, Z), on the grid that the settings are meant for.
        augmentation: The changes.
        seed: Seed of all draws.
        stage: Name of the training, part of the seed.
        resize: Applied to ``volume`` and ``seen`` afterwards; None: they stay on their grid.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: Augmentation,
        seed: int,
        stage: str,
        resize: Callable[[Tensor], Tensor] | None = None,
    ):
        self.dataset, self.augmentation, self.resize = dataset, augmentation, resize
        self.seeds = (seed, stage, "augmentation")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, placed: Placed) -> dict[str, Tensor]:
        position, place = placed
        item = dict(self.dataset[position])
        item[SEEN] = self.augmentation(item["volume"], derive_seed(*self.seeds, place))
        if self.resize is not None:
            item |= {key: self.resize(item[key]) for key in ("volume", SEEN)}
        return item


def augmented(
    dataset: Dataset,
    cfg: Mapping[str, Any],
    volumes: VolumeStore,
    seed: int,
    stage: str,
    resize: Callable[[Tensor], Tensor] | None = None,
) -> Dataset:
    """The data set with the augmentation of a training's section, or as it is without one.

    Args:
        dataset, seed, stage, resize: See :class:`Augmented`. It is not resized without one.
        cfg: The training's section; ``augmentation`` is there if it is on.
        volumes: The store of its volumes, whose voxel size is read if the augmentation is on.
    """
    if "augmentation" not in cfg:
        return dataset
    changes = Augmentation(cfg["augmentation"], volumes.spacing)
    return Augmented(dataset, changes, seed, stage, resize)


def seen(batch: Mapping[str, Tensor]) -> Tensor:
    """The encoder's input (B, 1, X, Y, Z) of a batch: augmented, or the scans as they are."""
    return batch.get(SEEN, batch["volume"])
