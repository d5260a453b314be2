"""Trained models on disk: ``model.safetensors`` with the tensors, ``model.json`` with the card.

The card states the architecture, so that a model is used without a config, and the SHA-256 of the
tensors' file. It is written last: a folder with a card holds a complete model.

Keys that every card has, by kind:

    autoencoder   kind, architecture (the config's ``autoencoder`` section)
    ldm           kind, architecture (``ldm``), latent_channels; preconditioning (shape and
                  timesteps) where the network does not predict eps itself
    ldae          kind, architecture (``ldae.encoder``), ldm_sha256 (``sha256`` of the ldm's card)
    dae           kind, architecture (``dae`` with the ``encoder`` of ``ldae``)
    supervised    kind, architecture (``supervised`` with that ``encoder``), target (diagnosis or
                  age), outputs (numbers that it predicts)

All other keys of a stage (latent scale, seeds, scores) are kept as they are. Citation, version of
the code, departures from the paper and flags are added (:mod:`ldae.models.card`).
:mod:`ldae.models.loading` restores the models.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from ldae.errors import require
from ldae.files import atomic, read_json, sha256, write_json
from ldae.models.card import complete_card

if TYPE_CHECKING:
    from torch import Tensor, nn

TENSORS, CARD = "model.safetensors", "model.json"
REQUIRED = {
    "autoencoder": ("architecture",),
    "ldm": ("architecture", "latent_channels"),
    "ldae": ("architecture", "ldm_sha256"),
    "dae": ("architecture",),
    "supervised": ("architecture", "target", "outputs"),
}
ENCODER, ESTIMATOR = "encoder.", "estimator."
UNET = "unet."


def save_model(
    folder: str | Path,
    state_dict: "Mapping[str, Tensor]",
    card: Mapping[str, Any],
    flags: Iterable[str] = (),
) -> dict[str, Any]:
    """Write a model: each file atomically, the card last.

    Args:
        folder: Model folder, made if it does not exist.
        state_dict: Tensors by key; an ldae's keys begin with ``encoder.`` or ``estimator.``.
        card: JSON-like, with the keys listed above; ``sha256`` and the keys of
            :func:`ldae.models.card.complete_card` are added.
        flags: Warnings for the card, one sentence each.

    Returns:
        The card as written.

    Raises:
        ValueError: the card lacks a key, or its kind is unknown.
    """
    from safetensors.torch import save_file  # imports torch; cards are read without it

    folder = Path(folder)
    kind = card.get("kind")
    if kind not in REQUIRED:
        raise ValueError(f"the card's kind is one of {sorted(REQUIRED)}, not {kind!r}")
    missing = [key for key in REQUIRED[kind] if key not in card]
    if missing:
        raise ValueError(f"the card of kind {kind} lacks {', '.join(missing)}")
    tensors = {key: value.detach().cpu().contiguous() for key, value in state_dict.items()}
    with atomic(folder / TENSORS) as temporary:
        save_file(tensors, temporary)
    written = {**complete_card(card, flags), "sha256": sha256(folder / TENSORS)}
    write_json(written, folder / CARD)
    return written


def load_card(folder: str | Path) -> dict[str, Any]:
    """Read a model's card.

    Raises:
        UserError: there is no finished model in ``folder``.
    """
    path = Path(folder) / CARD
    require(path.is_file(), f"There is no trained model in {folder}: {CARD} is missing. Train it.")
    return read_json(path)


def load_state(folder: str | Path, prefix: str = "") -> "dict[str, Tensor]":
    """Read a model's tensors whose keys begin with ``prefix``; checked against its card.

    Tensors stored in half precision, to take less space, are returned in float32.

    Raises:
        UserError: the card or the file is missing, or the file's SHA-256 is not the card's.
    """
    import torch

    card, path = load_card(folder), Path(folder) / TENSORS
    require(path.is_file(), f"The model {folder} lacks {TENSORS}. Copy it there or train again.")
    require(
        sha256(path) == card["sha256"],
        f"{path} is not the file its card {CARD} was written for (SHA-256 differs): it is damaged "
        "or was replaced. Copy both files together or train again.",
    )
    with safe_open(path, framework="pt") as tensors:
        keys = tensors.keys()
        state = {key: tensors.get_tensor(key) for key in keys if key.startswith(prefix)}
    return {key: t.float() if t.dtype == torch.float16 else t for key, t in state.items()}


def load_card_of_kind(folder: str | Path, kind: str) -> dict[str, Any]:
    """Read the card of a model that must be of ``kind``.

    Raises:
        UserError: there is no finished model in ``folder``, or it is of another kind.
    """
    card = load_card(folder)
    require(
        card["kind"] == kind,
        f"The model in {folder} is of kind {card['kind']}, but {kind} is needed here.",
    )
    return card


def load_parts(folder: str | Path, *prefixes: str) -> "dict[str, Tensor]":
    """Read a model's tensors, all of whose keys must begin with one of ``prefixes``.

    Raises:
        UserError: as :func:`load_state`, or there are other keys.
    """
    state = load_state(folder)
    strange = [key for key in state if not key.startswith(prefixes)]
    require(not strange, f"{folder}: unexpected tensors {', '.join(strange[:8])}.")
    return state


def ldae_state(encoder: "nn.Module", estimator: "nn.Module") -> "dict[str, Tensor]":
    """Join the two trained parts of stage 3 into one state dict, keys prefixed."""
    return prefixed(encoder, ENCODER) | prefixed(estimator, ESTIMATOR)


def prefixed(net: "nn.Module", prefix: str) -> "dict[str, Tensor]":
    """State dict of a network with ``prefix`` before every key."""
    return {prefix + key: value for key, value in net.state_dict().items()}


def dae_state(encoder: "nn.Module", unet: "nn.Module") -> "dict[str, Tensor]":
    """Join the two parts of the voxel-space DAE into one state dict, keys prefixed."""
    return prefixed(encoder, ENCODER) | prefixed(unet, UNET)
