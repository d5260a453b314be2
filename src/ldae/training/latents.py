"""Builds the latent store: every volume encoded once by the trained autoencoder.

The encoded scans stay below ``rows/`` in the store, a folder an autoencoder: a new scan, other
splits or another ``latents.source`` encode nothing anew (:mod:`ldae.training.latent_rows`).
"""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ldae.data.arrays import create_array
from ldae.data.latent_store import moments_sum
from ldae.data.store import CARD, finish_store, require_same_data
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.files import atomic, digest, write_json
from ldae.modelfile import load_autoencoder, load_card
from ldae.training.compute import Compute
from ldae.training.latent_rows import encode_rows, load_row, row_file

SOURCES = ("mean", "sample")
ROWS = "rows"

log = logging.getLogger(__name__)


def encode_shard(
    volumes_dir: Path,
    autoencoder_dir: Path,
    out_dir: Path,
    card: Path,
    share: tuple[int, int],
    device: str,
    threads: int,
    fingerprint: str = "",
) -> None:
    """Encode a share of the volumes, those that are not encoded yet, for the store to come.

    Args:
        volumes_dir, autoencoder_dir, out_dir, device, threads, fingerprint: As
            :func:`build_latent_store` has them.
        card: Written when all of the share is encoded.
        share: Its number from 0, and how many there are; jobs of different shares can run at once.

    Raises:
        UserError: the autoencoder was trained on another volume store.
    """
    number, shares = share
    volumes, model, rows_dir, compute = _prepare(
        volumes_dir, autoencoder_dir, out_dir, device, threads, fingerprint
    )
    rows = range(number, len(volumes), shares)
    encode_rows(volumes, model, rows, rows_dir, compute)
    write_json({"share": number, "of": shares, "volumes": len(rows)}, card)


def build_latent_store(
    volumes_dir: Path,
    autoencoder_dir: Path,
    out_dir: Path,
    cfg: dict[str, Any],
    device: str,
    threads: int,
    fingerprint: str = "",
) -> None:
    """Encode in fp32 what is not encoded yet, and store posterior mean and std of every volume.

    Args:
        volumes_dir: The volume store.
        autoencoder_dir: Model folder of stage 1.
        out_dir: The store's folder.
        cfg: ``config["latents"]``: source, mean or sample, of what training will see.
        device: cuda or cpu.
        threads: CPU threads.
        fingerprint: Of the code that encodes; another one encodes everything anew.

    Raises:
        UserError: the autoencoder was trained on another volume store.
    """
    require(
        cfg["source"] in SOURCES,
        f"latents.source is {cfg['source']!r}; allowed are {', '.join(SOURCES)}.",
    )
    out_dir = Path(out_dir)
    (out_dir / CARD).unlink(missing_ok=True)
    volumes, model, rows_dir, compute = _prepare(
        volumes_dir, autoencoder_dir, out_dir, device, threads, fingerprint
    )
    encode_rows(volumes, model, range(len(volumes)), rows_dir, compute)
    first = load_row(row_file(rows_dir, volumes, 0))
    shape = (len(volumes), *first.shape[1:])
    sums = []
    with atomic(out_dir / "mean.npy") as mean_file, atomic(out_dir / "std.npy") as std_file:
        moments = [create_array(file, np.float32, shape) for file in (mean_file, std_file)]
        for row in range(len(volumes)):
            pair = load_row(row_file(rows_dir, volumes, row))
            for moment, part in zip(moments, pair, strict=True):
                moment[row] = part
            sums.append(moments_sum(*pair))
        for moment in moments:
            moment.flush()
        scale = 1.0 / training_std(moments, volumes.rows("train"), cfg["source"])
        del moments
    index = volumes.index.drop(columns=["row", *volumes.columns]).assign(sha256=sums)
    card = {
        "kind": "latents",
        "shape": list(shape),
        "dtype": "float32",
        "scale": scale,
        "source": cfg["source"],
        "volumes": volumes.sum,
        "autoencoder": load_card(autoencoder_dir)["sha256"],
    }
    finish_store(out_dir, index, card)
    for folder in (out_dir / ROWS).iterdir():
        if folder != rows_dir:  # rows of an autoencoder that is no more
            shutil.rmtree(folder)
    log.info("%d latents of %s in %s, scale %.4f", len(volumes), list(shape[1:]), out_dir, scale)


def _prepare(
    volumes_dir: Path,
    autoencoder_dir: Path,
    out_dir: Path,
    device: str,
    threads: int,
    fingerprint: str,
) -> tuple[VolumeStore, torch.nn.Module, Path, Compute]:
    """The volumes, the autoencoder on its device, the folder of encoded rows, and the device."""
    compute = Compute.prepare(device, threads, "fp32")
    volumes = VolumeStore(volumes_dir)
    model, card = load_autoencoder(autoencoder_dir)
    require_same_data(volumes, card, autoencoder_dir)
    rows_dir = Path(out_dir) / ROWS / digest([card["sha256"], fingerprint, device])
    return volumes, compute.place(model), rows_dir, compute


def training_std(moments: list[np.ndarray], rows: np.ndarray, source: str) -> float:
    """Standard deviation of the training latents, one number over scans, channels and voxels.

    A sample's variance is that of the mean plus the mean posterior variance. Sums run in float64,
    scan by scan, so that 10,000 scans need no memory.
    """
    total = square = noise = 0.0
    for row in rows:
        mean = moments[0][row].astype(np.float64)
        total, square = total + mean.mean(), square + (mean**2).mean()
        noise += (moments[1][row].astype(np.float64) ** 2).mean()
    n = len(rows)
    variance = square / n - (total / n) ** 2 + (noise / n if source == "sample" else 0.0)
    require(
        variance > 0,
        "The autoencoder gives the same latent for every training scan; train it longer.",
    )
    return float(variance**0.5)
