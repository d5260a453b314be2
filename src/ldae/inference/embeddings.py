"""The semantic encoder at work: initial state, statistics, embeddings of all scans."""

from pathlib import Path

import numpy as np
import torch

from ldae.compute import Compute
from ldae.data.embeddings import save_embeddings
from ldae.data.volume_store import ByRow, VolumeStore
from ldae.errors import require
from ldae.inference.dae_system import SYSTEM, DaeSystem
from ldae.models.loading import load_ldae
from ldae.models.storage import load_card
from ldae.models.training_scans import require_fit
from ldae.nets.semantic_encoder import SemanticEncoder, initial_encoder
from ldae.progress import Progress

SYSTEMS = ("ldae", "untrained")


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


def embed_dae(system: DaeSystem, out: str | Path, batch_size: int) -> None:
    """Write y_sem of every scan of the store, by the DAE's encoder.

    Args:
        system: The trained model; in fp32, as the other embeddings are made.
        out: The npz to write.
        batch_size: Volumes encoded at once.
    """
    sha256 = system.card["sha256"]
    volumes, compute = system.resized, system.compute
    write_codes(out, system.encoder, system.store, volumes, SYSTEM, sha256, compute, batch_size)
