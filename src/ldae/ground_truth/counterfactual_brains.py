"""Counterfactuals of preprocessed synthetic scans: the same brain with other pathology.

Pose, mask error, contrast, coil field and noise are those of the real scan, so only the anatomy
differs. Both scans are put on the store's grid as the real one was
(:mod:`ldae.preprocess.preprocessed_input`).
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from ldae.data.volume_transform import StoreTransform
from ldae.derivatives import ScanFiles
from ldae.preprocess._ants import ants
from ldae.preprocess.preprocessed_input import on_target_grid, read_brain
from ldae.synthetic.brains import draw_brain, draw_pose, template_grid, visible_volumes
from ldae.synthetic.population import draw_person
from ldae.synthetic.preprocessed import make_scan


@dataclass(frozen=True)
class StoredPair:
    """A scan made again (factual) and its counterfactual.

    Attributes:
        again, other: The two scans, (1, X, Y, Z) float32 on the store's grid, not yet scaled.
        before, after: True volumes of ventricles and hippocampi in the two, ml in template scale.
    """

    again: torch.Tensor
    other: torch.Tensor
    before: list[float]
    after: list[float]


def brain_pair(
    made: dict[str, Any],
    index: int,
    row: Any,
    files: ScanFiles,
    bids_dir: Path,
    volumes_cfg: dict[str, Any],
) -> StoredPair:
    """Make a preprocessed scan again, and once more with the pathology of another diagnosis.

    Args:
        made: Arguments of the cohort: seed, visits, spacing, variation.
        index: Index of the person in the population.
        row: session_id and target, the diagnosis of the counterfactual.
        files: The real scan's derivatives; the registered brain gives the target grid.
        bids_dir: Not used; kept for the interface of
            :func:`ldae.ground_truth.counterfactual_heads.download_pair`.
        volumes_cfg: config["volumes"].
    """
    person = draw_person(made["seed"], index, made["visits"])
    visit = next(v for v in person.visits if v.session_id == row.session_id)
    variation = made["variation"]
    brain = draw_brain(person, made["seed"], variation)
    pose = draw_pose(person, visit, made["seed"], variation)
    grid = ants.image_read(str(files.registered_brain))
    transform = StoreTransform(
        volumes_cfg["spacing"], list(volumes_cfg["shape"]), volumes_cfg["interpolation"]
    )
    images, volumes = [], []
    for atrophy in (visit.atrophy, person.counterfactual_atrophy(visit, row.target)):
        values, mask, head = make_scan(
            person, visit, brain, atrophy, made["seed"], made["spacing"], variation
        )
        moved, _ = on_target_grid(
            *_as_read(values, mask, made["spacing"]),
            grid,
            volumes_cfg["interpolation"],
            volumes_cfg["antialias"],
        )
        images.append(in_store(moved, transform))
        ml = visible_volumes(head, pose)
        volumes.append([ml["ventricle_ml"], ml["hippocampus_ml"]])
    return StoredPair(*images, *volumes)


def _as_read(values: np.ndarray, mask: np.ndarray, spacing: float) -> tuple:
    """Brain and mask as :func:`read_brain` returns them from the cohort's files."""
    affine = template_grid(spacing)[1]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.nii.gz" for name in ("brain", "mask")]
        for array, path in zip((values, mask), paths, strict=True):
            nib.save(nib.Nifti1Image(array, affine), path)
        return read_brain(*paths)


def in_store(image: ants.ANTsImage, transform: StoreTransform) -> torch.Tensor:
    """Put a registered image on the store's grid, not yet scaled: (1, X, Y, Z) float32."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "moved.nii.gz"
        ants.image_write(image, str(path))
        return torch.from_numpy(transform.on_grid(path)[0]).clamp_min(0)
