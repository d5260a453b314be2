"""Embeddings: y_sem of every scan of a store, by a trained or an untrained encoder, in fp32."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ldae.cohort.splits import EXTERNAL
from ldae.compute import Compute
from ldae.data.embeddings import save_embeddings
from ldae.data.sampling import batches
from ldae.data.volume_store import ByRow, VolumeStore
from ldae.inference.memory import fitting_batch, network_bytes
from ldae.models.loading import load_encoder
from ldae.models.storage import load_card
from ldae.models.training_scans import require_fit
from ldae.nets.semantic_encoder import SemanticEncoder, initial_encoder
from ldae.progress import Progress


class Source(NamedTuple):
    """An encoder, the volumes that it reads, and the card of its model."""

    encoder: SemanticEncoder
    volumes: ByRow
    card: dict[str, Any]


def ldae_encoder(model: str | Path, store: VolumeStore) -> Source:
    """The trained encoder of an LDAE."""
    encoder, card = load_encoder(model)
    return Source(encoder, store, card)


def untrained_encoder(model: str | Path, store: VolumeStore) -> Source:
    """The encoder of an LDAE with random weights, as a control."""
    card = load_card(model)
    # Random also where stage 3 starts from ImageNet weights: with them it would be no untrained
    # control.
    encoder = initial_encoder(card["architecture"] | {"pretrained": None}, card["seed"])
    return Source(encoder, store, card)


def embed(
    system: str,
    load_encoder_of: Callable[[str | Path, VolumeStore], Source],
    model: str | Path,
    volumes: str | Path,
    out: str | Path,
    device: str,
    threads: int,
    batch_size: int | str = 8,
) -> None:
    """Write y_sem (N, d) of every scan of the store.

    Args:
        system: Name of the system in the log.
        load_encoder_of: Loads the encoder from the model's folder, as :func:`ldae_encoder` does.
        model: Folder of the model.
        volumes: The volume store.
        out: The npz to write (:func:`ldae.data.embeddings.save_embeddings`).
        device: ``cuda`` or ``cpu``.
        threads: CPU threads.
        batch_size: Volumes encoded at once; ``auto``: what fits the GPU.

    Raises:
        UserError: a model is missing or does not fit the store (:mod:`ldae.models.training_scans`).
    """
    compute, store = Compute.prepare(device, threads, "fp32"), VolumeStore(volumes)
    source = load_encoder_of(model, store)
    require_fit(store, source.card, model)
    encoder = compute.place(source.encoder).eval()
    batch_size = fitting_batch(
        batch_size, compute, partial(network_bytes, encoder, source.volumes.shape)
    )

    def encode(rows: np.ndarray) -> torch.Tensor:
        return encoder(compute.move(source.volumes.volumes(rows)))

    y_sem = encode_scans(store, encode, batch_size, f"embeddings of {system}")
    scans = store.index["scan_id"].tolist()
    save_embeddings(out, scans, y_sem, model=source.card["sha256"], volumes=store.content_hash)


@torch.inference_mode()
def encode_scans(
    store: VolumeStore, encode: Callable[[np.ndarray], torch.Tensor], batch_size: int, label: str
) -> np.ndarray:
    """Vectors (N, d) float32 of every scan of a store, in the order of its rows.

    External test sets are encoded in batches of their own, so that the other scans have the same
    batches, and therefore the same vectors to the last bit, with and without them.

    Args:
        store: The volume store.
        encode: Vectors (B, d) of rows (B,).
        batch_size: Scans encoded at once.
        label: What is made, for the progress lines.
    """
    progress = Progress(label, len(store))
    outside = (store.index["split"] == EXTERNAL).to_numpy()
    codes, encoded = [], []
    for group in (np.flatnonzero(~outside), np.flatnonzero(outside)):
        for part in batches(len(group), batch_size):
            rows = group[part]
            codes.append(encode(rows).float().cpu())
            encoded += rows.tolist()
            progress.step(len(encoded))
    return torch.cat(codes)[np.argsort(encoded)].numpy()
