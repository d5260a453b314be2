"""Trained models on disk: ``model.safetensors`` with the tensors, ``model.json`` with the card.

The card states the architecture, so that whoever uses a model needs no config, and the SHA-256 of
the tensors' file. It is written last: a folder with a card holds a whole model.

Keys every card has, by kind:

    autoencoder   kind, architecture (the config's ``autoencoder`` section)
    ldm           kind, architecture (``ldm``), latent_channels; preconditioning (shape and
                  timesteps) where the network does not predict eps itself
    ldae          kind, architecture (``ldae.encoder``), ldm_sha256 (``sha256`` of the ldm's card)
    dae           kind, architecture (``dae`` with the ``encoder`` of ``ldae``)
    supervised    kind, architecture (``supervised`` with that ``encoder``), target (diagnosis or
                  age), outputs (numbers that it predicts)

Whatever else a stage records (latent scale, seeds, scores) is kept as it is. Citation, version of
the code, departures from the paper and flags are added (:mod:`ldae.modelcard`). :func:`load`
restores a model of the first three kinds, :mod:`ldae.baselines` the others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ldae.errors import UserError, require
from ldae.files import atomic, read_json, sha256, write_json
from ldae.modelcard import complete

if TYPE_CHECKING:
    from monai.networks.nets import AutoencoderKL

    from ldae.nets.gradient_estimator import GuidedUNet
    from ldae.nets.semantic_encoder import SemanticEncoder
    from ldae.nets.unet import UNet

TENSORS, CARD = "model.safetensors", "model.json"
REQUIRED = {
    "autoencoder": ("architecture",),
    "ldm": ("architecture", "latent_channels"),
    "ldae": ("architecture", "ldm_sha256"),
    "dae": ("architecture",),
    "supervised": ("architecture", "target", "outputs"),
}
ENCODER, ESTIMATOR = "encoder.", "estimator."
# Of training alone: a restored model is neither compiled nor pretrained once more.
RESTORED = {"pretrained": None, "checkpointing": False, "compile": False}
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Model:
    """A restored model, frozen, in evaluation mode, on the CPU.

    Attributes:
        card: Its card; ``card["sha256"]`` names the weights, to be kept with what is made by them.
        net: By kind the autoencoder, the denoiser, or the guided UNet (which holds the denoiser).
        encoder: The semantic encoder of an ldae, else None.
    """

    card: dict[str, Any]
    net: nn.Module
    encoder: "SemanticEncoder | None" = None

    @property
    def kind(self) -> str:
        """``autoencoder``, ``ldm`` or ``ldae``."""
        return self.card["kind"]


def load(folder: str | Path, ldm_folder: str | Path | None = None) -> Model:
    """Restore a model of the three stages.

    Args:
        folder: The model.
        ldm_folder: For an ldae, the denoiser it was trained on; by default ``ldm`` beside it.

    Raises:
        UserError: a model is missing, damaged, of unknown kind, or does not belong to the other.
    """
    kind = load_card(folder)["kind"]
    if kind == "autoencoder":
        net, card = load_autoencoder(folder)
        return Model(card, net)
    if kind == "ldm":
        net, card = load_ldm(folder)
        return Model(card, net)
    require(
        kind == "ldae",
        f"The model in {folder} is of kind {kind!r}; known are autoencoder, ldm, ldae.",
    )
    encoder, guided, card = load_ldae(folder, ldm_folder or Path(folder).parent / "ldm")
    return Model(card, guided, encoder)


def save_model(
    folder: str | Path,
    state_dict: Mapping[str, Tensor],
    card: Mapping[str, Any],
    flags: Iterable[str] = (),
) -> dict[str, Any]:
    """Write a model; each file atomically, the card last.

    Args:
        folder: Made if need be.
        state_dict: Tensors by key; an ldae's keys begin with ``encoder.`` or ``estimator.``.
        card: JSON-like, with the keys listed above; ``sha256`` and what
            :func:`ldae.modelcard.complete` knows are added.
        flags: Warnings for the card, one sentence each.

    Returns:
        The card as written.

    Raises:
        ValueError: the card lacks a key, or its kind is unknown.
    """
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
    written = {**complete(card, flags), "sha256": sha256(folder / TENSORS)}
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


def load_state(folder: str | Path, prefix: str = "") -> dict[str, Tensor]:
    """Read a model's tensors, or those alone whose keys begin so; checked against its card.

    Raises:
        UserError: the file is missing, or is not the one the card was written for.
    """
    card, path = load_card(folder), Path(folder) / TENSORS
    require(path.is_file(), f"The model {folder} lacks {TENSORS}. Copy it there or train again.")
    require(
        sha256(path) == card["sha256"],
        f"{path} is not the file its card {CARD} was written for (SHA-256 differs): it is damaged "
        "or was exchanged. Copy both files together or train again.",
    )
    with safe_open(path, framework="pt") as tensors:
        keys = tensors.keys()
        return {key: tensors.get_tensor(key) for key in keys if key.startswith(prefix)}


def card_of(folder: str | Path, kind: str) -> dict[str, Any]:
    """Read the card of a model that must be of this kind."""
    card = load_card(folder)
    require(
        card["kind"] == kind,
        f"The model in {folder} is of kind {card['kind']}, but {kind} is needed here.",
    )
    return card


def _restore(build: Callable[[], Net], state: dict[str, Tensor], source: str | Path) -> Net:
    """Build on the meta device, so that nothing is initialised in vain, and take the tensors."""
    from ldae.nets.weights import load_strictly

    with torch.device("meta"):
        net = build()
    load_strictly(net, state, str(source), assign=True)
    return net.eval().requires_grad_(False)


def load_autoencoder(folder: str | Path) -> "tuple[AutoencoderKL, dict[str, Any]]":
    """Restore the autoencoder, frozen and in evaluation mode, on the CPU; and its card."""
    from ldae.nets.autoencoder import build_autoencoder

    card = card_of(folder, "autoencoder")
    cfg = {**card["architecture"], **RESTORED}
    return _restore(lambda: build_autoencoder(cfg), load_state(folder), folder), card


def load_ldm(folder: str | Path) -> "tuple[UNet, dict[str, Any]]":
    """Restore the denoiser, frozen and in evaluation mode, on the CPU; and its card."""
    from ldae.nets.preconditioning import Preconditioning
    from ldae.nets.unet import build_unet

    card = card_of(folder, "ldm")
    cfg, channels = {**card["architecture"], **RESTORED}, card["latent_channels"]
    known = card.get("preconditioning")

    def build() -> "UNet":
        return build_unet(cfg, channels, Preconditioning(**known) if known else None)

    return _restore(build, load_state(folder), folder), card


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}


def load_ldae(
    folder: str | Path, ldm_folder: str | Path
) -> "tuple[SemanticEncoder, GuidedUNet, dict[str, Any]]":
    """Restore the semantic encoder and the guided UNet, frozen and in evaluation mode.

    Args:
        folder: The ldae model.
        ldm_folder: The denoiser it was trained on.

    Raises:
        UserError: a model is missing or damaged, or ``ldm_folder`` holds another denoiser than
            the one the estimator was trained on.
    """
    from ldae.nets.gradient_estimator import build_guided_unet

    card = card_of(folder, "ldae")
    unet, ldm_card = load_ldm(ldm_folder)
    if card["ldm_sha256"] != ldm_card["sha256"]:
        raise UserError(
            f"The model in {folder} was trained on another diffusion model than the one in "
            f"{ldm_folder} (SHA-256 differs). Train the ldae stage again, or restore its ldm."
        )
    state = parts_of(folder, ENCODER, ESTIMATOR)
    encoder = _encoder(card, state, folder)
    guided = build_guided_unet(unet, ldm_card["architecture"], encoder.dim)
    load_part(guided.estimator, state, ESTIMATOR, folder)
    return encoder, guided.eval().requires_grad_(False), card


def load_encoder(folder: str | Path) -> "tuple[SemanticEncoder, dict[str, Any]]":
    """Restore the semantic encoder of an ldae alone, frozen and in evaluation mode; and its card.

    Raises:
        UserError: the model is missing, damaged or of another kind.
    """
    card = card_of(folder, "ldae")
    return _encoder(card, load_state(folder, ENCODER), folder), card


def _encoder(
    card: dict[str, Any], state: dict[str, Tensor], folder: str | Path
) -> "SemanticEncoder":
    from ldae.nets.semantic_encoder import build_encoder

    # Not on the meta device: a timm backbone may hold buffers that no state dict carries.
    encoder = build_encoder({**card["architecture"], **RESTORED})
    load_part(encoder, state, ENCODER, folder)
    return encoder.eval().requires_grad_(False)


def parts_of(folder: str | Path, *prefixes: str) -> dict[str, Tensor]:
    """A model's tensors, all of whose keys must begin with one of the prefixes."""
    state = load_state(folder)
    strange = [key for key in state if not key.startswith(prefixes)]
    require(not strange, f"{folder}: unexpected tensors {', '.join(strange[:8])}.")
    return state


def load_part(net: nn.Module, state: dict[str, Tensor], prefix: str, source: str | Path) -> None:
    """Load into ``net`` the tensors of ``state`` whose keys begin with ``prefix``, strictly."""
    from ldae.nets.weights import load_strictly

    load_strictly(net, _part(state, prefix), f"{source} ({prefix.rstrip('.')})")


def ldae_state(encoder: nn.Module, estimator: nn.Module) -> dict[str, Tensor]:
    """Join the two trained parts of stage 3 into one state dict, keys prefixed."""
    return prefixed(encoder, ENCODER) | prefixed(estimator, ESTIMATOR)


def prefixed(net: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A network's state dict with a prefix before every key."""
    return {prefix + key: value for key, value in net.state_dict().items()}
