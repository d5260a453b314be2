"""Volumes of tissues and ventricles of every registered scan: what a reviewer's baseline knows.

Scans are registered to the template by an affine, so volumes are in template scale: head size is
taken out. Tissues are split by intensity alone; they are proxies, not a segmentation.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ldae.data.volume_store import VolumeStore
from ldae.evaluation.metrics import brain_mask
from ldae.evaluation.regions import Regions, soft_volumes
from ldae.files import write_table
from ldae.progress import Progress

BINS = 256
ITERATIONS = 200
STARTS = (0.1, 0.5, 0.9)  # quantiles of the brain's intensities at which the three means start
TISSUES = ("csf_ml", "grey_ml", "white_ml", "brain_ml")
COLUMNS = (*TISSUES, "ventricle_ml", "hippocampus_ml")


def tissue_bounds(intensities: np.ndarray) -> tuple[float, float]:
    """Intensities between fluid and grey, and between grey and white matter.

    Three means in one dimension (Lloyd's algorithm) on a histogram of 256 bins, started at fixed
    quantiles: the same scan gives the same bounds. The order dark, middle, bright is that of T1.

    Args:
        intensities: (N,) of the brain's voxels, in [0, 1].
    """
    counts, edges = np.histogram(intensities, BINS, range=(0.0, 1.0))
    centres = (edges[:-1] + edges[1:]) / 2
    means = np.quantile(intensities, STARTS)
    for _ in range(ITERATIONS):
        bounds = (means[:-1] + means[1:]) / 2
        member = np.searchsorted(bounds, centres)
        weight = np.bincount(member, counts, minlength=3)
        total = np.bincount(member, counts * centres, minlength=3)
        found = np.divide(total, weight, out=means.copy(), where=weight > 0)
        if np.array_equal(found, means):
            break
        means = found
    low, high = (means[:-1] + means[1:]) / 2
    return float(low), float(high)


def tissue_volumes(volume: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Volumes of one scan's tissues in ml.

    Args:
        volume: (X, Y, Z) in [0, 1], skull-stripped.
        voxel_ml: Volume of a voxel, ml.

    Returns:
        :data:`TISSUES`: ``csf_ml``, ``grey_ml``, ``white_ml``, which add up to ``brain_ml``.
    """
    brain = volume[brain_mask(volume)]
    low, high = tissue_bounds(brain)
    counts = ((brain <= low), (brain > low) & (brain <= high), (brain > high), brain >= 0)
    return {name: voxel_ml * int(c.sum()) for name, c in zip(TISSUES, counts, strict=True)}


def measure_volumes(volumes: str | Path, table: str | Path) -> None:
    """Measure every scan of a volume store.

    Args:
        volumes: Folder of the store.
        table: TSV to write: scan_id and :data:`COLUMNS`, in ml; the regions' are those of
            :func:`ldae.evaluation.regions.soft_volumes`.
    """
    store = VolumeStore(volumes)
    regions = Regions.on(store.affine, store.shape)
    progress = Progress("tissue volumes", len(store.index))
    rows = []
    for row, scan in enumerate(store.index["scan_id"]):
        x = store.volumes(np.array([row]))
        found = {name: float(value[0]) for name, value in soft_volumes(x, x, regions).items()}
        tissues = tissue_volumes(x[0, 0].numpy(), regions.voxel_ml)
        rows.append({"scan_id": scan} | tissues | found)
        progress.step(row + 1)
    write_table(pd.DataFrame(rows, columns=["scan_id", *COLUMNS]), table)
