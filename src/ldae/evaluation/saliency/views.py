"""Views on scans: which scans are mapped, what they are compared with, and their maps."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.evaluation.metrics.image import brain_mask
from ldae.evaluation.saliency.attributions import (
    TOGETHER,
    ReadOut,
    blocks,
    integrated_gradients,
    occlusion,
)
from ldae.evaluation.test_scans import spread_over_subjects
from ldae.nets.semantic_encoder import PLANES

REFERENCE_SCANS = 200  # training scans of the average brain, at most
GRADIENTS, OCCLUSION = METHODS = ("integrated_gradients", "occlusion")
AVERAGE = "average"


@dataclass(frozen=True)
class Views:
    """Scans on the device, and how they are attributed.

    Attributes:
        x: The scans, (1, 1, X, Y, Z) each.
        reference: (1, 1, X, Y, Z), what they are compared with.
        edge: Edge of the occluded cubes, voxels; those are left out that hold none of the brain.
        steps: Points on the way from the reference to the scan.
    """

    x: list[Tensor]
    reference: Tensor
    edge: int
    steps: int

    def maps(self, read_out: ReadOut, method: str) -> Iterator[np.ndarray]:
        """Map (X, Y, Z) of each scan by one of :data:`METHODS`."""
        for one in self.x:
            if method == GRADIENTS:
                found = integrated_gradients(read_out, one, self.reference, self.steps)
            else:
                cubes = blocks(brain_mask(one)[0, 0], self.edge)
                found = occlusion(read_out, one, self.reference, cubes)
            yield found[0, 0].cpu().numpy()


def test_scans(store: VolumeStore, classes: tuple[str, str], most: int) -> pd.DataFrame:
    """At most so many test scans of each class, over as many people as possible.

    Raises:
        UserError: a class has no test scan.
    """
    test = store.index.loc[store.rows("test")]
    parts = []
    for name in classes[::-1]:
        part = test[test["diagnosis"] == name]
        require(
            len(part) > 0,
            f"The test split has no scan of the class {name}, so no read-out of it can be shown. "
            "Raise cohort.splits.test_fraction, or set evaluation.saliency to null.",
        )
        parts.append(spread_over_subjects(part, most))
    return pd.concat(parts)


def reference_volume(store: VolumeStore, kind: str, negative: str) -> Tensor:
    """What a scan is compared with, (1, 1, X, Y, Z): an average brain, or nothing at all.

    Args:
        store: The volume store.
        kind: ``average``, over at most :data:`REFERENCE_SCANS` training scans of the negative
            class; or ``empty``.
        negative: The negative class (CN).

    Raises:
        UserError: an average is asked for, and no training scan is of the negative class.
    """
    if kind != AVERAGE:
        return torch.zeros(1, 1, *store.shape)
    training = store.index.loc[store.rows("train")]
    training = training[training["diagnosis"] == negative]
    require(
        len(training) > 0,
        f"No training scan is of the class {negative}, so there is no average brain to compare "
        "with. Set evaluation.saliency.reference to empty.",
    )
    rows = spread_over_subjects(training, REFERENCE_SCANS).index.to_numpy()
    total = torch.zeros(1, 1, *store.shape, dtype=torch.float64)
    for part in batches(len(rows), TOGETHER):
        total += store.volumes(rows[part]).double().sum(dim=0, keepdim=True)
    return (total / len(rows)).float()


def slice_positions(store: VolumeStore, plane: str) -> np.ndarray:
    """Place (L,) of the encoder's slices in template space, mm: right, anterior or superior."""
    axis = PLANES[plane] - 2
    return store.affine[axis, 3] + store.affine[axis, axis] * np.arange(store.shape[axis])
