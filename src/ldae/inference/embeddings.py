"""Embeddings: y_sem of every scan of a store, by a trained or an untrained encoder, in fp32."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ldae.compute import Compute
from ldae.data.embeddings import save_embeddings
from ldae.data.resize import ResizedVolumes
from ldae.data.volume_store import ByRow, VolumeStore
from ldae.models.loading import load_dae, load_encoder
from ldae.models.storage import load_card
from ldae.models.training_scans import require_fit
from ldae.nets.semantic_encoder import SemanticEncoder, initial_encoder
from ldae.progress import Progress


class Source(NamedTuple):
    """An encoder, the volumes that it reads, and the card of its model."""

    encoder: SemanticEncoder
    volumes: ByRow
    card: dict[str, Any]


def _of_ldae(model: str | Path, store: VolumeStore) -> Source:
    encoder, card = load_encoder(model)
    return Source(encoder, store, card)


def _untrained(model: str | Path, store: VolumeStore) -> Source:
    card = load_card(model)
    # Random also where stage 3 starts from ImageNet weights: with them it would be no untrained
    # control.
    encoder = initial_encoder(card["architecture"] | {"pretrained": None}, card["seed"])
    return Source(encoder, store, card)


def _of_dae(model: str | Path, store: VolumeStore) -> Source:
    encoder, _, card = load_dae(model)
    cfg = card["architecture"]
    return Source(encoder, ResizedVolumes(store, cfg["shape"], cfg["resize"]), card)


ENCODERS = {"ldae": _of_ldae, "untrained": _untrained, "dae": _of_dae}


def embed(
    system: str,
    model: str | Path,
    volumes: str | Path,
    out: str | Path,
    device: str,
    threads: int,
    batch_size: int = 8,
) -> None:
    """Write y_sem (N, d) of every scan of the store.

    Args:
        system: ``ldae`` or ``dae``, or as a control ``untrained``: the LDAE's architecture with
            random weights.
        model: Folder of the LDAE, or of the DAE.
        volumes: The volume store.
        out: The npz to write (:func:`ldae.data.embeddings.save_embeddings`).
        device: ``cuda`` or ``cpu``.
        threads: CPU threads.
        batch_size: Volumes encoded at once.

    Raises:
        UserError: a model is missing or does not fit the store (:mod:`ldae.models.training_scans`).
    """
    compute, store = Compute.prepare(device, threads, "fp32"), VolumeStore(volumes)
    source = ENCODERS[system](model, store)
    require_fit(store, source.card, model)
    encoder = compute.place(source.encoder).eval()
    progress = Progress(f"embeddings of {system}", len(store))
    codes = []
    with torch.inference_mode():
        for start in range(0, len(store), batch_size):
            rows = np.arange(start, min(start + batch_size, len(store)))
            codes.append(encoder(compute.move(source.volumes.volumes(rows))).float().cpu())
            progress.step(int(rows[-1]) + 1)
    scans, y_sem = store.index["scan_id"].tolist(), torch.cat(codes).numpy()
    save_embeddings(out, scans, y_sem, model=source.card["sha256"], volumes=store.content_hash)
