"""Where the template's ventricles and hippocampi lie, and soft volumes of fluid and grey there.

The scans are registered affinely to MNI152, so a region is the same place in every scan, not a
segmentation of it. The measures are proxies: they follow a volume, they do not state it.

Volumes of tissues and ventricles of every registered scan: what a reviewer's baseline knows.

Scans are registered to the template by an affine, so volumes are in template scale: head size is
taken out. Tissues are split by intensity alone; they are proxies, not a segmentation.
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
# Both hippocampi and what borders on them: ellipsoids whose long axis falls forwards. The AAL atlas
# (Tzourio-Mazoyer et al. 2002) has their centres of mass at -25, -21, -10 and 29, -20, -10, the
# base heads of the synthetic cohort at 22 to 27, -21, -11 to -15; these lie a little lower, off the
# ventricles' box, which is left out. In six synthetic heads at 5 mm a loss of the hippocampi alone
# (1.75 ml) changes the measure by -1.1 (SD 0.1) ml, growth of the ventricles alone by 0.0 (0.1) ml;
# in three at 1.5 mm by -0.8 to -1.0 and by -0.1 ml. The ventricles' measure shows some 60 %.
HIPPOCAMPI = ((-25.0, -20.0, -17.0), (25.0, -20.0, -17.0))
SEMI_AXES = (12.0, 22.0, 12.0)  # mm: across, along the hippocampus, up
FALL = 35.0  # degrees
MARGIN = 8.0  # mm about both regions that do not count as elsewhere
# Of the median brain intensity of a T1w scan: at and below the first a voxel is fluid, from the
# second on tissue, up to the third grey matter, from the fourth on white; between them a mixture.
FLUID, TISSUE, GREY, WHITE = 0.35, 0.85, 1.0, 1.3
POINT = 1.0  # mm; points that say which share of a voxel lies in a region


@dataclass(frozen=True)
class Regions:
    """Regions on a store's grid.

    Attributes:
        ventricles, hippocampus: (X, Y, Z) float32, the share of each voxel that lies in it.
        elsewhere: (X, Y, Z) float32, 1 farther than :data:`MARGIN` from both.
        voxel_ml: Volume of a voxel.
    """

    ventricles: Tensor
    hippocampus: Tensor
    elsewhere: Tensor
    voxel_ml: float

    @classmethod
    def on(
        cls, affine: np.ndarray, shape: tuple[int, ...], device: torch.device | str = "cpu"
    ) -> "Regions":
        """The regions on a grid whose axes run along RAS.

        Raises:
            UserError: the volume does not hold the ventricles or the hippocampi.
        """
        first, edges = affine[:3, 3], np.diag(affine)[:3]
        last = first + edges * (np.array(shape) - 1)
        low, high = np.array(VENTRICLES).T
        lower = np.minimum(low, np.min(HIPPOCAMPI, 0) - SEMI_AXES[0])
        require(
            bool((first <= lower).all() and (last >= high).all()),
            f"The ventricles in MNI space (x, y, z in mm: {VENTRICLES}) and the hippocampi do not "
            f"lie in the volumes of shape {tuple(shape)}; check volumes.shape and volumes.spacing.",
        )
        ventricles, hippocampus = _shares(first, edges, shape)
        apart = ndi.distance_transform_edt((ventricles + hippocampus) == 0, sampling=edges)
        parts = (ventricles, hippocampus, apart > MARGIN)
        tensors = (torch.from_numpy(part.astype(np.float32)).to(device) for part in parts)
        return cls(*tensors, float(np.prod(edges)) / 1000)

    def __getitem__(self, name: str) -> Tensor:
        """The weights of a region by its name."""
        return getattr(self, name)


def _shares(
    first: np.ndarray, edges: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Share of every voxel in the ventricles' box and in the hippocampi outside that box."""
    ventricles, hippocampus = np.zeros(shape), np.zeros(shape)
    count = int(np.ceil(edges.max() / POINT))
    offsets = (np.arange(count) + 0.5) / count - 0.5
    cosine, sine = np.cos(np.radians(FALL)), np.sin(np.radians(FALL))
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


def shares(images: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of fluid and of grey matter in every voxel, 0 to 1: (B, 1, X, Y, Z) each.

    Linear in intensity between the levels :data:`FLUID` to :data:`WHITE` of the median brain
    intensity of ``base``, so a voxel cut by a border counts in part, and coarse voxels blur the
    measure instead of breaking it. A voxel of white matter and fluid alone passes for grey.
    """
    median = torch.stack([x[x > BRAIN_LEVEL].median() for x in base]).view(-1, 1, 1, 1, 1)
    level = images / median
    fluid = ((TISSUE - level) / (TISSUE - FLUID)).clamp(0, 1)
    white = ((level - GREY) / (WHITE - GREY)).clamp(0, 1)
    return fluid, 1 - fluid - white


def soft_volumes(images: Tensor, base: Tensor, regions: Regions) -> dict[str, Tensor]:
    """Fluid in the ventricles' region and grey matter in that of the hippocampi, template's ml.

    Brain and intensity scale are those of ``base``, so only ``images`` can change the measures.

    Args:
        images, base: (B, 1, X, Y, Z) in [0, 1], skull-stripped.
        regions: On the same grid.

    Returns:
        (B,) each: ``ventricle_ml``, ``hippocampus_ml``.
    """
    brain = base > BRAIN_LEVEL
    fluid, grey = shares(images, base)

    def total(share: Tensor, weight: Tensor) -> Tensor:
        return (share * brain * weight).flatten(1).sum(1) * regions.voxel_ml

    return {
        "ventricle_ml": total(fluid, regions.ventricles),
        "hippocampus_ml": total(grey, regions.hippocampus),
    }


def weighted(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of (B, 1, X, Y, Z) under weights that broadcast to it: (B,)."""
    weight = weight.expand_as(values)
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


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
            :func:`ldae.evaluation.metrics.volumes.soft_volumes`.
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
