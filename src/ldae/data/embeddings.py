"""Embeddings on disk: scan ids and their vectors, one file a system."""

from pathlib import Path

import numpy as np

from ldae.errors import require
from ldae.files import atomic


def save_embeddings(path: str | Path, scan_ids: list[str], y_sem: np.ndarray) -> None:
    """Write ``scan_id`` (N,) and ``y_sem`` (N, d) float32 to an npz, atomically."""
    y_sem = np.asarray(y_sem, dtype=np.float32)
    if y_sem.ndim != 2 or len(y_sem) != len(scan_ids):
        raise ValueError(f"{len(scan_ids)} scans, but embeddings of shape {y_sem.shape}")
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, scan_id=np.asarray(scan_ids, dtype=str), y_sem=y_sem)


def load_embeddings(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Read scan ids and vectors (N, d) float32.

    Raises:
        UserError: the file does not exist or holds values that are not finite.
    """
    require(
        Path(path).is_file(),
        f"The embeddings {path} do not exist. Run `snakemake embeddings` first.",
    )
    with np.load(path) as content:
        scan_ids, y_sem = content["scan_id"].tolist(), content["y_sem"]
    require(
        bool(np.isfinite(y_sem).all()),
        f"{path} holds values that are not finite; train the model again with precision: fp32.",
    )
    return scan_ids, y_sem
