"""The latent store: what the autoencoder makes of every volume, and the scale of it all.

Both moments of the posterior are kept, unscaled. ``scale`` is one number, 1/std over the latents of
the training split (the paper takes the first batch), and goes into every model trained on them.
Layout of a store: ``mean.npy`` and ``std.npy`` (N, C, *S) float32, ``index.tsv``, ``store.json``.
"""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ldae.data.store import Store, require_same_data
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.files import atomic, digest, sha256, write_json
from ldae.progress import Progress

SOURCES = ("mean", "sample")

log = logging.getLogger(__name__)


def build_latent_store(
    volumes_dir: Path,
    autoencoder_dir: Path,
    out_dir: Path,
    cfg: dict[str, Any],
    device: str,
    threads: int,
    batch_size: int = 4,
    fingerprint: str = "",
) -> None:
    """Encode every volume in fp32 by the trained autoencoder and store posterior mean and std.

    Args:
        volumes_dir: The volume store.
        autoencoder_dir: Model folder of stage 1.
        out_dir: The store's folder.
        cfg: ``config["latents"]``: source, mean or sample, of what training will see.
        device: cuda or cpu.
        threads: CPU threads.
        batch_size: Volumes encoded at once.
        fingerprint: Of the sources and settings, kept in store.json.

    Raises:
        UserError: the autoencoder was trained on another volume store.
    """
    from ldae.modelfile import load_autoencoder
    from ldae.training.compute import Compute

    require(
        cfg["source"] in SOURCES,
        f"latents.source is {cfg['source']!r}; allowed are {', '.join(SOURCES)}.",
    )
    out_dir = Path(out_dir)
    (out_dir / "store.json").unlink(missing_ok=True)
    compute = Compute.prepare(device, threads, "fp32")
    volumes = VolumeStore(volumes_dir)
    model, card = load_autoencoder(autoencoder_dir)
    require_same_data(volumes, card, autoencoder_dir)
    model = compute.place(model)
    progress = Progress("latents", len(volumes))
    with atomic(out_dir / "mean.npy") as mean_file, atomic(out_dir / "std.npy") as std_file:
        moments: list[np.ndarray] = []
        for start in range(0, len(volumes), batch_size):
            rows = np.arange(start, min(start + batch_size, len(volumes)))
            with torch.inference_mode():
                batch = model.encode(compute.move(volumes.volumes(rows)))  # mean, std (B, C, *S)
            batch = [part.float().cpu().numpy() for part in batch]
            require(
                all(bool(np.isfinite(part).all()) for part in batch),
                f"The autoencoder in {autoencoder_dir} gives latents that are not finite for rows "
                f"{rows.tolist()}. Train it again with autoencoder.precision: fp32.",
            )
            if not moments:
                shape = (len(volumes), *batch[0].shape[1:])
                moments = [
                    np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
                    for file in (mean_file, std_file)
                ]
            for moment, part in zip(moments, batch, strict=True):
                moment[rows] = part
            progress.step(int(rows[-1]) + 1)
        for moment in moments:
            moment.flush()
        scale = 1.0 / float(training_std(moments, volumes.rows("train"), cfg["source"]))
    with atomic(out_dir / "index.tsv") as temporary:
        shutil.copyfile(volumes.folder / "index.tsv", temporary)
    store = {
        "kind": "latents",
        "shape": list(shape),
        "dtype": "float32",
        "sha256": digest([sha256(out_dir / name) for name in ("mean.npy", "std.npy")]),
        "index_sha256": sha256(out_dir / "index.tsv"),
        "scale": scale,
        "source": cfg["source"],
        "volumes": volumes.sum,
        "autoencoder": card["sha256"],
        "fingerprint": fingerprint,
    }
    write_json(store, out_dir / "store.json")
    log.info("%d latents of %s in %s, scale %.4f", len(volumes), list(shape[1:]), out_dir, scale)


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
    return variance**0.5


class LatentStore(Store):
    """Reads a latent store. ``scale`` multiplies raw latents to unit variance.

    Args:
        folder: The store.
        autoencoder_sha256: When given, the sum of the autoencoder that must have made it.
        volumes: When given, the volume store it must have been made from.

    Raises:
        UserError: files that disagree, another autoencoder, or another volume store.
    """

    arrays = ("mean", "std")
    made_by = "latents"
    _mean: np.ndarray
    _std: np.ndarray

    def __init__(
        self,
        folder: str | Path,
        autoencoder_sha256: str | None = None,
        volumes: VolumeStore | None = None,
    ):
        super().__init__(folder)
        require(
            autoencoder_sha256 in (None, self.card["autoencoder"]),
            f"The latents in {folder} were made by another autoencoder. Remake them: "
            "`snakemake latents`.",
        )
        require(
            volumes is None or volumes.sum == self.card["volumes"],
            f"The latents in {folder} were made from another volume store. Remake them: "
            "`snakemake latents`.",
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one latent: (C, *S)."""
        return tuple(self.card["shape"][1:])

    @property
    def scale(self) -> float:
        """1/std of the training split's latents."""
        return self.card["scale"]

    @property
    def source(self) -> str:
        """What training sees: the posterior ``mean``, or a ``sample`` anew at each step."""
        return self.card["source"]

    def latent(self, row: int) -> torch.Tensor:
        """Scaled posterior mean (C, *S), float32, of unit variance."""
        return self.scale * torch.from_numpy(self._mean[row].copy())

    def std(self, row: int) -> torch.Tensor:
        """Scaled posterior standard deviation (C, *S), float32."""
        return self.scale * torch.from_numpy(self._std[row].copy())

    def latents(self, rows: np.ndarray) -> torch.Tensor:
        """Scaled posterior means (B, C, *S)."""
        return torch.stack([self.latent(int(row)) for row in rows])
