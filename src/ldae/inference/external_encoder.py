"""Vectors of every scan by an encoder of others, through the preprocessing that goes with it.

The scans are those of the volume store: skull-stripped, in template space, in [0, 1]. Which scans
such an encoder was trained on is not known here: people of the test split may be among them.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldae.compute import Compute
from ldae.config import AUTO
from ldae.data.embeddings import save_embeddings
from ldae.data.resize import Resizer
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.files import sha256
from ldae.inference.embeddings import encode_scans
from ldae.nets.volume_encoders import build_encoder

SMALLEST = 1e-6  # standard deviation that a volume is divided by, at least
log = logging.getLogger(__name__)


def on_grid(x: Tensor, from_spacing: float, shape: list[int], spacing: float | None) -> Tensor:
    """Bring volumes (B, 1, X, Y, Z) to another grid.

    Args:
        x: Volumes of the store.
        from_spacing: Their voxel size, mm.
        shape: Spatial shape of the grid.
        spacing: Its voxel size, mm: the volumes are resampled, then cropped or padded with zeros,
            centred. None: the whole field of view is fitted into the shape.
    """
    if spacing is None:
        return resample(x, shape)
    sides = [max(1, round(side * from_spacing / spacing)) for side in x.shape[2:]]
    return Resizer(tuple(sides), shape, "crop").there(resample(x, sides))


def resample(x: Tensor, shape: list[int]) -> Tensor:
    """Volumes (B, 1, X, Y, Z) with other numbers of voxels.

    Fewer along every side: means over the voxels that fall together; else trilinear.
    """
    if list(x.shape[2:]) == list(shape):
        return x
    if all(new <= old for new, old in zip(shape, x.shape[2:], strict=True)):
        return F.adaptive_avg_pool3d(x, shape)
    return Resizer(tuple(x.shape[2:]), shape, "resample").there(x)


def normalised(x: Tensor, how: str) -> Tensor:
    """Intensities of volumes (B, 1, X, Y, Z), each by itself.

    Args:
        x: Volumes in [0, 1], 0 outside of the brain.
        how: ``none``: as they are; ``minus_one_to_one``: in [-1, 1]; ``zscore``: mean 0 and
            standard deviation 1 of all voxels; ``zscore_brain``: of those above 0; the others
            stay 0.
    """
    if how == "none":
        return x
    if how == "minus_one_to_one":
        return 2 * x - 1
    counted = torch.ones_like(x) if how == "zscore" else (x > 0).float()
    number = counted.sum((1, 2, 3, 4), keepdim=True).clamp(min=1)
    mean = (x * counted).sum((1, 2, 3, 4), keepdim=True) / number
    variance = ((x - mean) ** 2 * counted).sum((1, 2, 3, 4), keepdim=True) / number
    return (x - mean) / variance.sqrt().clamp(min=SMALLEST) * counted


def embed_with(
    name: str,
    about: dict[str, Any],
    volumes: str | Path,
    out: str | Path,
    device: str,
    threads: int,
    batch_size: int | str,
) -> None:
    """Write the vectors (N, d) of every scan of the store.

    Args:
        name: Name of the encoder, which is that of the system in the tables.
        about: ``evaluation.external_encoders.NAME``.
        volumes: The volume store.
        out: The npz to write (:func:`ldae.data.embeddings.save_embeddings`).
        device: ``cuda`` or ``cpu``.
        threads: CPU threads.
        batch_size: Volumes encoded at once; ``auto``: one, because the memory of others' networks
            is not known.

    Raises:
        UserError: the encoder does not fit its weights or its grid, or gives numbers that are not
            finite.
    """
    compute, store = Compute.prepare(device, threads, "fp32"), VolumeStore(volumes)
    encoder = build_encoder(name, about).to(compute.device)
    grid = about["grid"]
    log.info(
        "%s: grid of %s voxels%s, intensities: %s",
        name,
        " x ".join(map(str, grid["shape"])),
        "" if grid["spacing"] is None else f" of {grid['spacing']} mm",
        about["normalise"],
    )

    def encode(rows: np.ndarray) -> Tensor:
        x = on_grid(store.volumes(rows), store.spacing, grid["shape"], grid["spacing"])
        return encoder(compute.move(normalised(x, about["normalise"])))

    together = 1 if batch_size == AUTO else int(batch_size)
    vectors = encode_scans(store, encode, together, f"vectors of {name}")
    require(
        bool(np.isfinite(vectors).all()),
        f"evaluation.external_encoders.{name} gives numbers that are not finite: check normalise "
        "and its weights.",
    )
    scans = store.index["scan_id"].tolist()
    save_embeddings(out, scans, vectors, model=sha256(about["path"]), volumes=store.content_hash)
