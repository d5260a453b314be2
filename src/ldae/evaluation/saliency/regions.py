"""Regions of template space on a store's grid: tissues, ventricles and hippocampi, a user's atlas.

Three sets of regions, each dividing the brain, or a part of it:

- ``tissue``: grey and white matter by MNI's own probability maps, and fluid, which is the rest;
- ``region``: the ventricles' box and the hippocampi's ellipsoids of
  :mod:`ldae.evaluation.metrics.volumes`, and what lies farther from both;
- ``atlas``: the labels of the user's atlas in template space.

A voxel counts in part where it is cut by a border: it is sampled at points 2 mm apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage, sparse

from ldae.errors import require
from ldae.evaluation.metrics.volumes import Regions
from ldae.files import read_table

POINT_STEP = 2.0  # mm
TISSUES = ("grey", "white")
FLUID = "fluid"
KNOWN = ("ventricles", "hippocampus", "elsewhere")


@dataclass(frozen=True)
class RegionSet:
    """Regions on a grid of V voxels.

    Attributes:
        names: (set, region) of each of the R regions.
        weights: (R, V) sparse, the fraction of each voxel in each region; voxels in C order.
    """

    names: list[tuple[str, str]]
    weights: sparse.csr_matrix

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sum (R,) of ``values`` (X, Y, Z) over each region."""
        return self.weights @ values.ravel().astype(np.float64)


def region_set(
    affine: np.ndarray,
    shape: tuple[int, int, int],
    tissues: Mapping[str, str | Path],
    atlas: str | Path | None,
) -> RegionSet:
    """All regions on a grid whose axes run along RAS.

    Args:
        affine: (4, 4) voxel to RAS mm, diagonal in its first three rows.
        shape: (X, Y, Z) voxels.
        tissues: Probability map of each of :data:`TISSUES`, in template space.
        atlas: Image of whole numbers in template space, 0 outside; None: no atlas. A table of the
            same name with the ending ``.tsv`` (columns index and name, as BIDS has it) names its
            labels.

    Raises:
        UserError: a file is missing or no image of three dimensions, a map holds no probabilities,
            or the atlas no whole numbers, or none of its labels within the grid.
    """
    fractions = {name: map_fractions(tissues[name], affine, shape) for name in TISSUES}
    fluid = np.clip(1 - sum(fractions.values()), 0, 1)
    rows = [("tissue", name, part) for name, part in (*fractions.items(), (FLUID, fluid))]
    known = Regions.on(affine, shape)
    rows += [("region", name, known[name].numpy()) for name in KNOWN]
    names = [(kind, name) for kind, name, _ in rows]
    parts = [sparse.csr_matrix(part.reshape(1, -1).astype(np.float64)) for *_, part in rows]
    if atlas is not None:
        labels, weights = label_fractions(atlas, affine, shape)
        names += [("atlas", name) for name in label_names(atlas, labels)]
        parts.append(weights)
    return RegionSet(names, sparse.vstack(parts).tocsr())


def map_fractions(path: str | Path, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Mean of a probability map in every voxel of the grid: (X, Y, Z), 0 to 1.

    A map of bytes, such as MNI's, holds probabilities times 255.
    """
    image, values = _read(path)
    if values.dtype == np.uint8 and values.max() > 1:
        values = values / 255.0
    require(
        values.min() >= 0 and 0.5 <= values.max() <= 1.001,
        f"{path} is no probability map: its values run from {values.min():g} to "
        f"{values.max():g}. Give a map of a tissue from 0 to 1 (evaluation.saliency.tissues).",
    )
    total, count = np.zeros(shape), 0
    for points in _points(image, affine, shape):
        total += ndimage.map_coordinates(values, points, order=1, output=np.float64).reshape(shape)
        count += 1
    return total / count


def label_fractions(
    path: str | Path, affine: np.ndarray, shape: tuple[int, int, int]
) -> tuple[np.ndarray, sparse.csr_matrix]:
    """Labels (R,) of an atlas within the grid, and their fractions of its voxels (R, V)."""
    image, values = _read(path)
    whole = np.rint(values).astype(np.int64)
    require(
        bool(np.array_equal(whole, values)) and whole.min() >= 0,
        f"The atlas {path} holds values that are no labels (whole numbers from 0). Give an image "
        "of labels, or of one region each (evaluation.saliency.atlas).",
    )
    labels, numbered = np.unique(whole, return_inverse=True)
    numbered = numbered.reshape(whole.shape)
    voxels = np.arange(np.prod(shape))
    found, count = sparse.csr_matrix((len(labels), len(voxels))), 0
    outside = int(np.searchsorted(labels, 0)) if 0 in labels else -1
    for points in _points(image, affine, shape):
        at = np.rint(points).astype(int)
        inside = np.all((at >= 0) & (at < np.array(whole.shape)[:, None]), axis=0)
        label = numbered[tuple(at[:, inside])]
        one = np.ones(len(label))
        found = found + sparse.csr_matrix((one, (label, voxels[inside])), shape=found.shape)
        count += 1
    held = np.asarray(found.sum(axis=1)).ravel() > 0
    if outside >= 0:
        held[outside] = False
    require(
        held.any(),
        f"No label of the atlas {path} lies within the volumes. Give an atlas in the template's "
        "space (preprocess.template.name).",
    )
    return labels[held], found[held] / count


def label_names(path: str | Path, labels: np.ndarray) -> list[str]:
    """Names of an atlas's labels, by the table beside it; a label without a row: its number."""
    path = Path(path)
    table = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    known: dict[int, str] = {}
    if table.is_file():
        rows = read_table(table, ["index", "name"])
        numbers = zip(rows["index"], rows["name"], strict=True)
        known = {int(number): str(name) for number, name in numbers}
    return [known.get(int(label), str(int(label))) for label in labels]


def _read(path: str | Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    """An image and its values, (X, Y, Z)."""
    require(
        Path(path).is_file(),
        f"The image {path} does not exist. Run the target `resources` for MNI's tissue maps, or "
        "correct evaluation.saliency (tissues, atlas).",
    )
    image = nib.load(path)
    values = np.asanyarray(image.dataobj)
    require(
        values.ndim == 3,
        f"The image {path} has {values.ndim} dimensions where 3 are expected: give one volume.",
    )
    return image, values


def _points(image: nib.Nifti1Image, affine: np.ndarray, shape: tuple[int, int, int]):
    """Voxel coordinates (3, V) in ``image`` of one point of every voxel of the grid, in turn."""
    edges = np.diag(affine)[:3]
    count = int(np.ceil(edges.max() / POINT_STEP))
    offsets = (np.arange(count) + 0.5) / count - 0.5
    back = np.linalg.inv(image.affine) @ affine
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1)
    base = back[:3, :3] @ grid + back[:3, 3:]
    for offset in product(offsets, repeat=3):
        yield base + back[:3, :3] @ np.array(offset)[:, None]
