"""Embeddings on disk, one npz per system: scan ids, vectors, and what they were computed from.

Arrays: ``scan_id`` (N,), ``y_sem`` (N, d) float32, ``model`` (SHA-256) and ``volumes`` (the content
hash of the volume store).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ldae.errors import UserError, require
from ldae.files import atomic


def save_embeddings(
    path: str | Path, scan_ids: list[str], y_sem: np.ndarray, model: str = "", volumes: str = ""
) -> None:
    """Write an npz, atomically.

    Args:
        path: The file.
        scan_ids: N scans.
        y_sem: Their vectors (N, d); stored as float32.
        model: SHA-256 of the model that computed them.
        volumes: Content hash (``sum``) of the volume store they were computed from.

    Raises:
        ValueError: ``y_sem`` does not have one vector per scan.
    """
    y_sem = np.asarray(y_sem, dtype=np.float32)
    if y_sem.ndim != 2 or len(y_sem) != len(scan_ids):
        raise ValueError(f"{len(scan_ids)} scans, but embeddings of shape {y_sem.shape}")
    content = {"scan_id": np.asarray(scan_ids, dtype=str), "y_sem": y_sem}
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **content, model=np.asarray(model), volumes=np.asarray(volumes))


def load_embeddings(
    path: str | Path, model: str | None = None, volumes: str | None = None
) -> tuple[list[str], np.ndarray]:
    """Read scan ids and vectors (N, d) float32.

    Args:
        path: The file.
        model: When given, SHA-256 of the model that must have computed them.
        volumes: When given, content hash of the volume store that they must be computed from.

    Raises:
        UserError: the file does not exist, holds values that are not finite, or was computed by
            another model or from another store.
    """
    remake = f"Delete {path} and run the target `embeddings`."
    require(
        Path(path).is_file(),
        f"The embeddings {path} do not exist. Run the target `embeddings` first.",
    )
    with np.load(path) as content:
        scan_ids, y_sem = content["scan_id"].tolist(), content["y_sem"]
        origin = {key: str(content[key]) for key in ("model", "volumes") if key in content}
    require(
        bool(np.isfinite(y_sem).all()),
        f"{path} holds values that are not finite; train the model again with precision: fp32.",
    )
    require(
        model in (None, origin.get("model")),
        f"The embeddings {path} were computed by another model than the present one. {remake}",
    )
    require(
        volumes in (None, origin.get("volumes")),
        f"The embeddings {path} were computed from another volume store. {remake}",
    )
    return scan_ids, y_sem


def aligned_embeddings(
    path: str | Path, scan_ids: pd.Series, model: str | None = None, volumes: str | None = None
) -> np.ndarray:
    """Rows of an embeddings file in the order of ``scan_ids``: (N, d) float64.

    Args:
        path: The file.
        scan_ids: The wanted scans (N,).
        model, volumes: As in :func:`load_embeddings`.

    Raises:
        UserError: a scan has no embedding, or see :func:`load_embeddings`.
    """
    names, vectors = load_embeddings(path, model, volumes)
    place = {name: row for row, name in enumerate(names)}
    lacking = [name for name in scan_ids if name not in place]
    if lacking:
        raise UserError(
            f"The embeddings {path} lack {len(lacking)} scan(s), the first is {lacking[0]}; "
            "delete the file so that it is computed again for the present scans."
        )
    return vectors[[place[name] for name in scan_ids]].astype(np.float64)
