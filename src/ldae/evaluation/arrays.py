"""Arrays for figures: float16 volumes and names in an npz that holds no pickles and no dates."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ldae.files import atomic


def as_arrays(volumes: Tensor) -> np.ndarray:
    """Volumes (B, 1, X, Y, Z) on any device as float16 (B, X, Y, Z)."""
    return volumes[:, 0].cpu().numpy().astype(np.float16)


def save_arrays(path: str | Path, **arrays: Any) -> None:
    """Write arrays, numbers and columns of text; text is stored as fixed-width unicode."""
    plain = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        plain[name] = array.astype(str) if array.dtype == object else array
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **plain)
