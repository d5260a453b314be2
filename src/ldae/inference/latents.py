"""Builder of the latent store: every volume encoded once by the trained autoencoder.

Shards of the volumes are encoded by separate jobs (:func:`encode_shard`). Joining the rows
(:func:`build_latent_store`) needs neither the autoencoder nor a GPU, and imports no torch.

Encoded volumes are cached below ``rows/`` in the store: a folder for each autoencoder (and encoding
code), and in it a file for each volume. A file is named by the checksum of its volume, is written
whole or not at all, and depends on no other. So a killed run continues where it stopped. With new
scans, other splits, another ``latents.source`` or another device no volume is encoded again.
"""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ldae.data.latent_store import moments_hash
from ldae.data.store import CARD, create_array, finish_store
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.files import atomic, digest, write_json
from ldae.locks import locked
from ldae.models.storage import load_card
from ldae.models.training_scans import require_fit
from ldae.progress import Progress

if TYPE_CHECKING:
    from torch import nn

    from ldae.compute import Compute

log = logging.getLogger(__name__)
SOURCES = ("mean", "sample")
VARIANCES = ("all", "between_scans")
ROWS = "rows"


def encode_rows(
    volumes: VolumeStore,
    model: "nn.Module",
    rows: Iterable[int],
    rows_dir: Path,
    compute: "Compute",
) -> None:
    """Write posterior mean and std, (2, C, *S) float32, of the rows that have no file yet.

    One volume at a time, on a GPU with deterministic kernels and without TF32. A result then
    depends on its volume alone, and a store built in pieces equals one built at once.

    Args:
        volumes: The volume store.
        model: The autoencoder, on the device of ``compute``.
        rows: Rows of the store to encode.
        rows_dir: Folder of the cached files.
        compute: Device; sets cuDNN's global flags on a GPU.

    Raises:
        UserError: the autoencoder gives values that are not finite.
    """
    import torch

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
    """File of a row's moments, named by its volume's checksum: the row's number may change."""
    return rows_dir / f"{volumes.index['sha256'][row]}.npy"


def load_row(file: Path) -> np.ndarray | None:
    """Mean and std (2, C, *S), or None where the file is missing or damaged."""
    if not file.is_file():
        return None
    try:
        return np.load(file)
    except (ValueError, EOFError):
        log.warning("%s is damaged; its scan is encoded again", file)
        return None


def encode_shard(
    volumes_dir: Path,
    autoencoder_dir: Path,
    out_dir: Path,
    card: str | Path,
    shard: tuple[int, int],
    device: str,
    threads: int,
    fingerprint: str = "",
) -> None:
    """Encode those volumes of a shard that are not encoded yet.

    Args:
        volumes_dir: The volume store.
        autoencoder_dir: Model folder of stage 1.
        out_dir: Folder of the latent store.
        card: JSON file, written when the whole shard is encoded.
        shard: Its number from 0, and the number of shards; their jobs can run at the same time.
        device: ``cuda`` or ``cpu``.
        threads: CPU threads.
        fingerprint: Fingerprint of the encoding code; with another one all volumes are encoded
            again.

    Raises:
        UserError: the autoencoder does not fit the volume store
            (:mod:`ldae.models.training_scans`).
    """
    from ldae.compute import Compute
    from ldae.models.loading import load_autoencoder

    number, shards = shard
    card = Path(card)
    compute = Compute.prepare(device, threads, "fp32")
    volumes = VolumeStore(volumes_dir)
    model, model_card = load_autoencoder(autoencoder_dir)
    require_fit(volumes, model_card, autoencoder_dir)
    rows_dir = _rows_dir(out_dir, model_card, fingerprint)
    rows = range(number, len(volumes), shards)
    with locked(card.with_name(f".{card.name}.lock"), str(card)):
        encode_rows(volumes, compute.place(model), rows, rows_dir, compute)
        write_json({"share": number, "of": shards, "volumes": len(rows)}, card)


def build_latent_store(
    volumes_dir: Path,
    autoencoder_dir: Path,
    out_dir: Path,
    cfg: dict[str, Any],
    fingerprint: str = "",
) -> None:
    """Join the encoded volumes to the latent store: posterior mean and std of every scan.

    Args:
        volumes_dir, autoencoder_dir, out_dir, fingerprint: As in :func:`encode_shard`.
        cfg: ``config["latents"]``. ``source`` (mean or sample) is what trainings read. The scale
            makes the ``variance`` of the training latents (all or between_scans) one.

    Raises:
        UserError: a volume is not encoded, or an option is unknown.
    """
    require(
        cfg["source"] in SOURCES,
        f"latents.source is {cfg['source']!r}; allowed are {', '.join(SOURCES)}.",
    )
    require(
        cfg["variance"] in VARIANCES,
        f"latents.variance is {cfg['variance']!r}; allowed are {', '.join(VARIANCES)}.",
    )
    out_dir = Path(out_dir)
    (out_dir / CARD).unlink(missing_ok=True)
    volumes, model_card = VolumeStore(volumes_dir), load_card(autoencoder_dir)
    rows_dir = _rows_dir(out_dir, model_card, fingerprint)
    shape = (len(volumes), *_encoded(rows_dir, volumes, 0).shape[1:])
    hashes = []
    with atomic(out_dir / "mean.npy") as mean_file, atomic(out_dir / "std.npy") as std_file:
        moments = [create_array(file, np.float32, shape) for file in (mean_file, std_file)]
        for row in range(len(volumes)):
            pair = _encoded(rows_dir, volumes, row)
            for moment, part in zip(moments, pair, strict=True):
                moment[row] = part
            hashes.append(moments_hash(*pair))
        for moment in moments:
            moment.flush()
        scale = 1.0 / training_std(moments, volumes.rows("train"), cfg["source"], cfg["variance"])
        del moments
    index = volumes.index.drop(columns=["row", *volumes.columns]).assign(sha256=hashes)
    card = {
        "kind": "latents",
        "shape": list(shape),
        "dtype": "float32",
        "scale": scale,
        "source": cfg["source"],
        "variance": cfg["variance"],
        "volumes": volumes.content_hash,
        "autoencoder": model_card["sha256"],
    }
    finish_store(out_dir, index, card)
    for folder in (out_dir / ROWS).iterdir():
        if folder != rows_dir:  # rows of an earlier autoencoder or earlier code
            shutil.rmtree(folder)
    log.info("%d latents of %s in %s, scale %.4f", len(volumes), list(shape[1:]), out_dir, scale)


def _rows_dir(out_dir: Path, model_card: dict[str, Any], fingerprint: str) -> Path:
    """Folder of the volumes encoded by this autoencoder and this code, on any device."""
    return Path(out_dir) / ROWS / digest([model_card["sha256"], fingerprint])


def _encoded(rows_dir: Path, volumes: VolumeStore, row: int) -> np.ndarray:
    """Mean and std (2, C, *S) of a row that must be encoded."""
    pair = load_row(row_file(rows_dir, volumes, row))
    require(
        pair is not None,
        f"The latent of {volumes.index['scan_id'][row]} is missing in {rows_dir}. Encode what is "
        "missing: `snakemake --forcerun latent_shard`.",
    )
    return pair


def training_std(
    moments: list[np.ndarray], rows: np.ndarray, source: str, variance: str = "all"
) -> float:
    """Standard deviation of the training latents, one number over scans, channels and voxels.

    A sample's variance is that of the mean plus the mean posterior variance. Sums run in float64,
    scan by scan, so that 10,000 scans need no memory.

    Args:
        moments: Posterior means and standard deviations (N, C, *S).
        rows: Rows of the training scans.
        source: ``mean`` or ``sample``.
        variance: ``all`` about the mean over scans and voxels; ``between_scans`` about the mean
            latent, which leaves out the anatomy that all scans share.

    Raises:
        UserError: all training latents are equal.
    """
    total, square, noise = np.zeros(moments[0].shape[1:]), 0.0, 0.0
    for row in rows:
        mean = moments[0][row].astype(np.float64)
        total, square = total + mean, square + (mean**2).mean()
        noise += (moments[1][row].astype(np.float64) ** 2).mean()
    n = len(rows)
    shared = (total.mean() / n) ** 2 if variance == "all" else ((total / n) ** 2).mean()
    spread = square / n - shared + (noise / n if source == "sample" else 0.0)
    require(
        spread > 0,
        "The autoencoder gives the same latent for every training scan; train it longer.",
    )
    return float(spread**0.5)
