"""Heads for tests of the preprocessing: bases of the synthetic cohort at 3 mm, and scan tables."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from ldae.synthetic.bases import FOLDER

SPACING = 3.0  # mm of the test heads


def base(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Head, brain mask and affine of a base head, averaged to 3 mm; axes to R, A, S."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        head, brain, affine = (stored[key] for key in ("head", "brain", "affine"))
    assert affine[0, 0] * 2 == SPACING

    def halve(array):
        even = array[tuple(slice(0, n - n % 2) for n in array.shape)].astype(np.float32)
        x, y, z = (n // 2 for n in even.shape)
        return even.reshape(x, 2, y, 2, z, 2).mean((1, 3, 5))

    coarse = np.diag([SPACING, SPACING, SPACING, 1.0])
    coarse[:3, 3] = affine[:3, 3] + SPACING / 4
    return halve(head), halve(brain) > 127, coarse


def save(values: np.ndarray, affine: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def scan_table(*names: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "scan_id": [f"sub-{name}_ses-M000" for name in names],
            "participant_id": [f"sub-{name}" for name in names],
            "session_id": "ses-M000",
            "path": [f"sub-{name}/ses-M000/anat/sub-{name}_ses-M000_T1w.nii.gz" for name in names],
        }
    )
