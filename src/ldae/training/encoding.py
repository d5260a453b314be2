"""The semantic encoder at work: initial state, statistics, embeddings of all scans."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import torch

from ldae.compute import Compute, detached
from ldae.data.embeddings import save_embeddings
from ldae.data.volume_store import ByRow, VolumeStore
from ldae.errors import require
from ldae.models.loading import load_ldae
from ldae.models.storage import load_card
from ldae.models.training_scans import require_fit
from ldae.nets.semantic_encoder import SemanticEncoder, initial_encoder
from ldae.progress import Progress
from ldae.training.ema import Ema
from ldae.training.norms import BATCH_NORMS, batch_norms

SYSTEMS = ("ldae", "untrained")
CALIBRATION_SCANS = 256
CALIBRATION_BATCH = 16


@torch.inference_mode()
def recalibrate(
    encoder: SemanticEncoder,
    encode: Callable[[torch.Tensor], torch.Tensor],
    volumes: ByRow,
    rows: np.ndarray,
    compute: Compute,
) -> None:
    """Set the running statistics of the encoder's batch norms to those of its present weights.

    Statistics gathered while training belong to the trained weights, not to their average; and a
    small shift of the mean of y_sem can be as large as the differences between people. Without
    batch norms this does nothing.

    Args:
        encoder: In evaluation mode.
        encode: Calls it under the stage's precision.
        volumes: Where the scans come from.
        rows: Training rows; at most the first 256 are used.
        compute: The device.
    """
    last = encoder.standardize
    inner = [norm for norm in batch_norms([encoder]) if norm is not last]
    rows = rows[:CALIBRATION_SCANS]

    def codes() -> torch.Tensor:
        """y_sem of the rows (N, d)."""
        parts = np.array_split(rows, -(-len(rows) // CALIBRATION_BATCH))
        return torch.cat([encode(compute.move(volumes.volumes(part))) for part in parts])

    if inner:
        momenta = [norm.momentum for norm in inner]
        for norm in inner:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        codes()
        for norm, momentum in zip(inner, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    if isinstance(last, BATCH_NORMS):
        last.running_mean.zero_()
        last.running_var.fill_(1.0)
        y_sem = codes().double() * (1.0 + last.eps) ** 0.5  # undo a layer of mean 0, variance 1
        last.running_mean.copy_(y_sem.mean(0))
        last.running_var.copy_(y_sem.var(0))


class Averaged(AbstractContextManager):
    """Within the context the networks hold the EMA weights, and statistics that fit them.

    The encoder is in evaluation mode there, and afterwards in the mode it was in. It may be entered
    within itself: what it makes ready is made once.

    Args:
        ema: Over the encoder and what is trained with it.
        encoder, encode, volumes, rows, compute: As :func:`recalibrate` has them.
    """

    def __init__(
        self,
        ema: Ema,
        encoder: SemanticEncoder,
        encode: Callable[[torch.Tensor], torch.Tensor],
        volumes: ByRow,
        rows: np.ndarray,
        compute: Compute,
    ):
        self.ema, self.encoder = ema, encoder
        self.calibration = (encoder, encode, volumes, rows, compute)
        self.depth, self.inside = 0, ExitStack()

    def __enter__(self) -> None:
        if self.depth == 0:
            with ExitStack() as inside:
                inside.callback(self._restore, detached(dict(self.encoder.named_buffers())))
                # While training, statistics would be gathered of codes standardised already.
                inside.callback(self.encoder.train, self.encoder.training)
                self.encoder.eval()
                inside.enter_context(self.ema.applied())
                recalibrate(*self.calibration)
                self.inside = inside.pop_all()
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.inside.close()

    def _restore(self, buffers: Mapping[str, torch.Tensor]) -> None:
        for key, buffer in self.encoder.named_buffers():
            buffer.copy_(buffers[key])


def embed(
    volumes_dir: Path,
    ldae_dir: Path,
    ldm_dir: Path,
    out: Path,
    system: str,
    device: str,
    threads: int,
    batch_size: int = 8,
) -> None:
    """Write y_sem of every scan of the store, in fp32.

    Args:
        volumes_dir: The volume store.
        ldae_dir: Model folder of stage 3.
        ldm_dir: Model folder of stage 2 that it belongs to.
        out: The npz to write.
        system: ``ldae``, or ``untrained``: the same architecture with random weights, as a control.
        device: cuda or cpu.
        threads: CPU threads.
        batch_size: Volumes encoded at once.

    Raises:
        UserError: a model is missing or does not fit the store (:mod:`ldae.models.training_scans`).
    """
    require(system in SYSTEMS, f"The system is one of {', '.join(SYSTEMS)}, not {system!r}.")
    compute = Compute.prepare(device, threads, "fp32")
    volumes = VolumeStore(volumes_dir)
    if system == "ldae":
        encoder, _, card = load_ldae(ldae_dir, ldm_dir)
    else:
        card = load_card(ldae_dir)
        # Also where stage 3 starts from ImageNet: as a control, that would be a trained encoder.
        encoder = initial_encoder(card["architecture"] | {"pretrained": None}, card["seed"])
    require_fit(volumes, card, ldae_dir)
    encoder = compute.place(encoder).eval()
    write_codes(out, encoder, volumes, volumes, system, card["sha256"], compute, batch_size)


def write_codes(
    out: Path,
    encoder: SemanticEncoder,
    store: VolumeStore,
    volumes: ByRow,
    system: str,
    model: str,
    compute: Compute,
    batch_size: int,
) -> None:
    """Write y_sem of every scan of a store.

    Args:
        out: The npz to write.
        encoder: In evaluation mode, on the device.
        store: Names the scans.
        volumes: What of them is encoded: the store, or it at another resolution.
        system: Name of the system, for the log.
        model: SHA-256 of the encoder's model.
        compute: The device.
        batch_size: Volumes encoded at once.
    """
    progress = Progress(f"embeddings of {system}", len(store))
    codes = []
    with torch.inference_mode():
        for start in range(0, len(store), batch_size):
            rows = np.arange(start, min(start + batch_size, len(store)))
            codes.append(encoder(compute.move(volumes.volumes(rows))).float().cpu())
            progress.step(int(rows[-1]) + 1)
    scans, y_sem = store.index["scan_id"].tolist(), torch.cat(codes).numpy()
    save_embeddings(out, scans, y_sem, model=model, volumes=store.sum)
