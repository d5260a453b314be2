"""Stores written directly from arrays, without the code that builds stores."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.data.store import finish_store
from ldae.data.thumbnails import THUMBNAIL, thumbnail


def write_store(
    folder: Path, index: pd.DataFrame, card: dict[str, Any], **arrays: np.ndarray
) -> None:
    """Write a finished store.

    Args:
        folder: The new folder of the store.
        index: Scans in the order of the arrays: scan_id, participant_id, split and any others.
        card: Content of store.json besides shape and dtype.
        arrays: ``volumes`` (N, 1, X, Y, Z), written to two shards, or ``mean`` and ``std``
            (N, C, *S).
    """
    folder.mkdir(parents=True)
    rows = [[np.ascontiguousarray(part) for part in row] for row in zip(*arrays.values())]  # noqa: B905
    index = index.drop(columns="row", errors="ignore").assign(
        sha256=[
            hashlib.sha256(b"".join(part.tobytes() for part in row)).hexdigest() for row in rows
        ]
    )
    if "volumes" in arrays:
        (folder / "shards").mkdir()
        half = len(index) // 2
        shard = np.arange(len(index)) >= half
        index["file"] = [f"shards/shard-{int(second)}.npy" for second in shard]
        index["file_row"] = np.arange(len(index)) - half * shard
        index[THUMBNAIL] = [thumbnail(volume) for volume in arrays["volumes"]]
        for number in (0, 1):
            np.save(folder / f"shards/shard-{number}.npy", arrays["volumes"][shard == number])
    else:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
    first = next(iter(arrays.values()))
    finish_store(folder, index, card | {"shape": list(first.shape), "dtype": str(first.dtype)})
