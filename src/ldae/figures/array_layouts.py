"""Layouts of the ``.npz`` files that figures are drawn from, and their loader.

The evaluation writes these files. ``LAYOUTS`` lists, per kind of file, the keys that a figure needs
and their number of axes; a file may hold more keys.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ldae.errors import UserError, require

# Axes in front of a volume (X, Y, Z), in [0, 1]: N scans, N and K stochastic samples, A strengths,
# V visits, or classes.
MANIPULATION = {
    "scan_id": 1,
    "source": 1,
    "target": 1,
    "alpha": 0,
    "original": 4,
    "reconstruction": 4,
    "manipulated": 4,
}
LAYOUTS: dict[str, dict[str, int]] = {
    "reconstruction": {"scan_id": 1, "diagnosis": 1, "original": 4, "reconstruction": 4},
    "variation": {"scan_id": 1, "diagnosis": 1, "original": 4, "encoded": 4, "samples": 5},
    "progression": {
        "scan_id": 0,
        "source": 0,
        "target": 0,
        "original": 3,
        "alphas": 1,
        "volumes": 4,
    },
    "manipulation": MANIPULATION,
    "saliency": {
        "classes": 1,
        "scans": 1,
        "scan": 4,
        "integrated_gradients": 4,
        "occlusion": 4,
    },
    "counterfactual": MANIPULATION | {"counterfactual": 4},
    "interpolation": {
        "participant_id": 0,
        "months": 1,
        "factor": 1,
        "original": 4,
        "autoencoder": 4,
        "interpolated": 4,
        "nearest_visit": 4,
        "voxel_average": 4,
        "latent_lerp": 4,
    },
}


def load(path: str | Path, layout: str) -> dict[str, np.ndarray]:
    """The arrays of one file, checked against ``LAYOUTS[layout]``.

    Arrays with three or more axes are returned as float32; float16 on disk is fine.

    Raises:
        UserError: the file is missing, lacks a key, or an array has the wrong number of axes.
    """
    path = Path(path)
    require(path.is_file(), f"The arrays {path} do not exist. Run the evaluation stage first.")
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name, axes in LAYOUTS[layout].items():
        if name not in arrays:
            raise UserError(f"The file {path} lacks the array {name!r}; it has {sorted(arrays)}.")
        if arrays[name].ndim != axes:
            raise UserError(
                f"The array {name!r} of {path} has {arrays[name].ndim} axes where {axes} are "
                "expected: another version wrote it. Run the evaluation stage again."
            )
    return {
        name: array.astype(np.float32) if array.ndim >= 3 else array
        for name, array in arrays.items()
    }


def spacing(arrays: dict[str, np.ndarray], settings: dict[str, Any]) -> float:
    """mm per voxel: from the file if it holds ``spacing``, else from ``settings["spacing"]``.

    Raises:
        UserError: neither holds it.
    """
    if "spacing" in arrays:
        return float(np.ravel(arrays["spacing"])[0])
    require(
        settings.get("spacing") is not None,
        "The arrays hold no voxel size; pass settings['spacing'] in mm (config: volumes.spacing).",
    )
    return float(settings["spacing"])
