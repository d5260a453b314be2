"""Encodes volumes one by one into files of their own, which the latent store is put together from.

A file is named by the checksum of its volume, is written whole or not at all, and depends on no
other. So a killed run goes on where it stopped, and what was encoded once is not encoded again.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from ldae.compute import Compute
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.files import atomic
from ldae.progress import Progress

log = logging.getLogger(__name__)


def encode_rows(
    volumes: VolumeStore,
    model: torch.nn.Module,
    rows: Iterable[int],
    rows_dir: Path,
    compute: Compute,
) -> None:
    """Write posterior mean and std, (2, C, *S) float32, of the rows that have no file yet.

    One volume at a time, on a GPU with deterministic kernels and without TF32: what a row becomes
    depends on nothing but its volume, so that a store built bit by bit equals one built at once.

    Raises:
        UserError: the autoencoder gives values that are not finite.
    """
    wanted = [row for row in rows if load_row(row_file(rows_dir, volumes, row)) is None]
    log.info("%d volumes to encode of %d", len(wanted), len(volumes))
    rows_dir.mkdir(parents=True, exist_ok=True)
    progress = Progress("latents", len(wanted))
    if compute.cuda:  # the process does nothing else
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    with torch.inference_mode():
        for number, row in enumerate(wanted, start=1):
            mean, std = model.encode(compute.move(volumes.volume(row)[None]))  # (1, C, *S) each
            pair = torch.cat([mean, std]).float().cpu().numpy()
            require(
                bool(np.isfinite(pair).all()),
                "The autoencoder gives latents that are not finite, first for "
                f"{volumes.index['scan_id'][row]}. Train it again with autoencoder.precision: "
                "fp32.",
            )
            with atomic(row_file(rows_dir, volumes, row)) as file, file.open("wb") as stream:
                np.save(stream, pair)
            progress.step(number)


def row_file(rows_dir: Path, volumes: VolumeStore, row: int) -> Path:
    """Moments of a row; named by its volume's checksum, wherever it stands in the store."""
    return rows_dir / f"{volumes.index['sha256'][row]}.npy"


def load_row(file: Path) -> np.ndarray | None:
    """Mean and std (2, C, *S), or None where the file is absent or damaged."""
    if not file.is_file():
        return None
    try:
        return np.load(file)
    except (ValueError, EOFError):
        log.warning("%s is damaged; its scan is encoded again", file)
        return None
