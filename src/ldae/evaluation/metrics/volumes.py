"""Tissue volumes, and soft volumes of ventricles and hippocampi, of scans in template space.

Scans are registered affinely to MNI152, so volumes are in template scale: differences in head size
are removed. Regions are a fixed box and fixed ellipsoids in MNI space; tissues are separated by
intensity alone. Neither is a segmentation. The measures are proxies: they follow a volume, but do
not estimate it. The table of all scans is the baseline ``volumes`` of the probes.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage as ndi
from torch import Tensor

from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.evaluation.metrics.image import BRAIN_LEVEL, brain_mask
from ldae.files import write_table
from ldae.progress import Progress

# Bodies and frontal horns of the lateral ventricles: mm RAS, low and high per axis.
VENTRICLES = ((-28.0, 28.0), (-46.0, 36.0), (-6.0, 32.0))
# Both hippocampi and what borders on them: ellipsoids whose long axis falls forwards, mm RAS. The
# AAL atlas (Tzourio-Mazoyer et al. 2002) has the centres of mass at -25, -21, -10 and 29, -20, -10.
# The base heads of the synthetic cohort have them at 22 to 27, -21, -11 to -15. The centres here
# lie a little lower, off the ventricles' box, which is excluded from the ellipsoids.
# Six synthetic heads at 5 mm: a loss of the hippocampi alone (1.75 ml) changes the measure by -1.1
# (SD 0.1) ml, growth of the ventricles alone by 0.0 (0.1) ml. Three heads at 1.5 mm: by -0.8 to
# -1.0 and by -0.1 ml. The ventricles' measure shows some 60 % of a change. It sees
# less of narrow ventricles: 16 % of the segmented volume in ten real adults of 23 to 51 at 5 mm
# (r = 0.87, docs/real.md), and 32 to 58 % in three of them at 2 mm.
HIPPOCAMPI = ((-25.0, -20.0, -17.0), (25.0, -20.0, -17.0))
SEMI_AXES = (12.0, 22.0, 12.0)  # mm: across, along the hippocampus, up
TILT = 35.0  # degrees below the horizontal, forwards
MARGIN = 8.0  # mm around both regions that is not counted as ``elsewhere``
# Relative to the median brain intensity of a T1w scan. Up to FLUID a voxel is fluid; from TISSUE to
# GREY it is grey matter; from WHITE on it is white matter. Between two levels it is a mixture.
FLUID, TISSUE, GREY, WHITE = 0.35, 0.85, 1.0, 1.3
SAMPLE_STEP = 1.0  # mm; spacing of the points that sample the fraction of a voxel in a region
BINS = 256
ITERATIONS = 200
STARTS = (0.1, 0.5, 0.9)  # quantiles of the brain's intensities at which the three means start
TISSUES = ("csf_ml", "grey_ml", "white_ml", "brain_ml")
COLUMNS = (*TISSUES, "ventricle_ml", "hippocampus_ml")


@dataclass(frozen=True)
class Regions:
    """Regions on a store's grid.

    Attributes:
        ventricles, hippocampus: (X, Y, Z) float32, the fraction of each voxel in the region.
        elsewhere: (X, Y, Z) float32, 1 farther than :data:`MARGIN` from both regions, else 0.
        voxel_ml: Volume of a voxel, ml.
    """

    ventricles: Tensor
    hippocampus: Tensor
    elsewhere: Tensor
    voxel_ml: float

    @classmethod
    def on(
        cls, affine: np.ndarray, shape: tuple[int, ...], device: torch.device | str = "cpu"
    ) -> "Regions":
        """Compute the regions on a grid whose axes run along RAS.

        Args:
            affine: (4, 4) voxel to RAS mm, diagonal in its first three rows.
            shape: (X, Y, Z) voxels.
            device: Device of the tensors.

        Raises:
            UserError: the ventricles or the hippocampi lie outside the grid.
        """
        first, edges = affine[:3, 3], np.diag(affine)[:3]
        last = first + edges * (np.array(shape) - 1)
        low, high = np.array(VENTRICLES).T
        lower = np.minimum(low, np.min(HIPPOCAMPI, 0) - SEMI_AXES[0])
        require(
            bool((first <= lower).all() and (last >= high).all()),
            f"The ventricles in MNI space (x, y, z in mm: {VENTRICLES}) and the hippocampi do not "
            f"lie in the volumes of shape {tuple(shape)}. Check volumes.shape and volumes.spacing.",
        )
        ventricles, hippocampus = _region_fractions(first, edges, shape)
        distance = ndi.distance_transform_edt((ventricles + hippocampus) == 0, sampling=edges)
        parts = (ventricles, hippocampus, distance > MARGIN)
        tensors = (torch.from_numpy(part.astype(np.float32)).to(device) for part in parts)
        return cls(*tensors, float(np.prod(edges)) / 1000)

    def __getitem__(self, name: str) -> Tensor:
        """Voxel weights (X, Y, Z) of a region by its name."""
        return getattr(self, name)


def _region_fractions(
    first: np.ndarray, edges: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Fraction of every voxel in the ventricles' box, and in the hippocampi outside that box."""
    ventricles, hippocampus = np.zeros(shape), np.zeros(shape)
    count = int(np.ceil(edges.max() / SAMPLE_STEP))
    offsets = (np.arange(count) + 0.5) / count - 0.5
    cosine, sine = np.cos(np.radians(TILT)), np.sin(np.radians(TILT))
    for offset in product(offsets, repeat=3):
        nodes = [np.arange(n) + o for n, o in zip(shape, offset, strict=True)]
        axes = [a + e * n for a, e, n in zip(first, edges, nodes, strict=True)]
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        inside = np.ones(shape, bool)
        for axis, (low, high) in zip((x, y, z), VENTRICLES, strict=True):
            inside &= (axis >= low) & (axis < high)
        near = np.zeros(shape, bool)
        for centre in HIPPOCAMPI:
            right, front, up = (axis - c for axis, c in zip((x, y, z), centre, strict=True))
            along, across = cosine * front - sine * up, sine * front + cosine * up
            parts = (right, along, across)
            near |= sum((p / a) ** 2 for p, a in zip(parts, SEMI_AXES, strict=True)) <= 1
        ventricles += inside
        hippocampus += near & ~inside
    return ventricles / count**3, hippocampus / count**3


def tissue_fractions(images: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """Fractions of fluid and of grey matter in every voxel, 0 to 1: (B, 1, X, Y, Z) each.

    The fractions are linear in intensity between the levels :data:`FLUID` to :data:`WHITE`,
    relative to the median brain intensity of ``base``. A voxel cut by a border therefore counts in
    part, so coarse voxels blur the measure but do not break it. A mixture of white matter and fluid
    alone counts as grey matter.

    Args:
        images, base: (B, 1, X, Y, Z) in [0, 1], skull-stripped.
    """
    median = torch.stack([x[x > BRAIN_LEVEL].median() for x in base]).view(-1, 1, 1, 1, 1)
    level = images / median
    fluid = ((TISSUE - level) / (TISSUE - FLUID)).clamp(0, 1)
    white = ((level - GREY) / (WHITE - GREY)).clamp(0, 1)
    return fluid, 1 - fluid - white


def soft_volumes(images: Tensor, base: Tensor, regions: Regions) -> dict[str, Tensor]:
    """Fluid in the ventricles' region and grey matter in the hippocampi's, ml in template scale.

    The brain mask and the intensity scale come from ``base``, so only ``images`` can change the
    measures.

    Args:
        images, base: (B, 1, X, Y, Z) in [0, 1], skull-stripped.
        regions: Regions on the same grid.

    Returns:
        (B,) each: ``ventricle_ml``, ``hippocampus_ml``.
    """
    brain = base > BRAIN_LEVEL
    fluid, grey = tissue_fractions(images, base)

    def total(fraction: Tensor, weight: Tensor) -> Tensor:
        return (fraction * brain * weight).flatten(1).sum(1) * regions.voxel_ml

    return {
        "ventricle_ml": total(fluid, regions.ventricles),
        "hippocampus_ml": total(grey, regions.hippocampus),
    }


def weighted(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean (B,) of ``values`` (B, 1, X, Y, Z); ``weight`` broadcasts to their shape."""
    weight = weight.expand_as(values)
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


def tissue_bounds(intensities: np.ndarray) -> tuple[float, float]:
    """Intensity bounds between fluid and grey matter, and between grey and white matter.

    One-dimensional k-means with three means (Lloyd's algorithm) on a histogram of 256 bins. It
    starts at fixed quantiles, so the same scan always gives the same bounds. Dark, middle and
    bright voxels are fluid, grey and white matter, as in T1-weighted images.

    Args:
        intensities: (N,) intensities of the brain's voxels, in [0, 1].
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
    """Tissue volumes of one scan, ml.

    Args:
        volume: (X, Y, Z) in [0, 1], skull-stripped.
        voxel_ml: Volume of a voxel, ml.

    Returns:
        :data:`TISSUES` to ml: ``csf_ml``, ``grey_ml``, ``white_ml``, and their sum ``brain_ml``.
    """
    brain = volume[brain_mask(volume)]
    low, high = tissue_bounds(brain)
    counts = ((brain <= low), (brain > low) & (brain <= high), (brain > high), brain >= 0)
    return {name: voxel_ml * int(c.sum()) for name, c in zip(TISSUES, counts, strict=True)}


def measure_volumes(volumes: str | Path, table: str | Path) -> None:
    """Measure every scan of a volume store.

    Args:
        volumes: Folder of the store.
        table: TSV to write: scan_id and :data:`COLUMNS`, in ml; see :func:`tissue_volumes` and
            :func:`soft_volumes`.
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
