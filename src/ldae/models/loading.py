"""Loaders of trained models: frozen, in evaluation mode, on the CPU.

The module of a network is imported where it is built: the autoencoder alone needs no timm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from ldae.dependencies import as_restored
from ldae.errors import UserError, require
from ldae.models.storage import (
    ENCODER,
    ESTIMATOR,
    UNET,
    load_card,
    load_card_of_kind,
    load_parts,
    load_state,
)
from ldae.nets.pretrained import load_strictly

if TYPE_CHECKING:
    from monai.networks.nets import AutoencoderKL

    from ldae.nets.conditional_unet import ConditionalUNet
    from ldae.nets.gradient_estimator import GuidedUNet
    from ldae.nets.semantic_encoder import SemanticEncoder, SupervisedEncoder
    from ldae.nets.unet import UNet

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Model:
    """A restored model, frozen, in evaluation mode, on the CPU.

    Attributes:
        card: The model card; ``card["sha256"]`` identifies the weights in stored results.
        net: The autoencoder, the denoiser, or for an ldae the guided UNet with the denoiser.
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
        folder: Model folder.
        ldm_folder: For an ldae, the denoiser it was trained on; by default ``ldm`` beside it.

    Raises:
        UserError: a model is missing, damaged or of another kind, or the denoiser is not the one
            that the ldae was trained on.
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


def _restore(build: Callable[[], Net], state: dict[str, Tensor], source: str | Path) -> Net:
    """Build on the meta device, so that nothing is initialised in vain, and assign the tensors."""
    with torch.device("meta"):
        net = build()
    load_strictly(net, state, str(source), assign=True)
    return net.eval().requires_grad_(False)


def load_autoencoder(folder: str | Path) -> "tuple[AutoencoderKL, dict[str, Any]]":
    """Restore the autoencoder, frozen and in evaluation mode, on the CPU; and its card.

    Raises:
        UserError: the model is missing, damaged or of another kind.
    """
    from ldae.nets.autoencoder import build_autoencoder

    card = load_card_of_kind(folder, "autoencoder")
    cfg = as_restored(card["architecture"])
    return _restore(lambda: build_autoencoder(cfg), load_state(folder), folder), card


def load_ldm(folder: str | Path) -> "tuple[UNet, dict[str, Any]]":
    """Restore the denoiser, frozen and in evaluation mode, on the CPU; and its card.

    Raises:
        UserError: the model is missing, damaged or of another kind.
    """
    from ldae.nets.preconditioning import Preconditioning
    from ldae.nets.unet import build_unet

    card = load_card_of_kind(folder, "ldm")
    cfg, channels = as_restored(card["architecture"]), card["latent_channels"]
    arguments = card.get("preconditioning")

    def build() -> "UNet":
        return build_unet(cfg, channels, Preconditioning(**arguments) if arguments else None)

    return _restore(build, load_state(folder), folder), card


def load_ldae(
    folder: str | Path, ldm_folder: str | Path
) -> "tuple[SemanticEncoder, GuidedUNet, dict[str, Any]]":
    """Restore the semantic encoder and the guided UNet, frozen; and the card of the ldae.

    Args:
        folder: Model folder of the ldae.
        ldm_folder: Model folder of the denoiser it was trained on.

    Raises:
        UserError: a model is missing, damaged or of another kind, or ``ldm_folder`` holds another
            denoiser than the one the estimator was trained on.
    """
    from ldae.nets.gradient_estimator import build_guided_unet

    card = load_card_of_kind(folder, "ldae")
    unet, ldm_card = load_ldm(ldm_folder)
    if card["ldm_sha256"] != ldm_card["sha256"]:
        raise UserError(
            f"The model in {folder} was trained on another diffusion model than the one in "
            f"{ldm_folder} (SHA-256 differs). Train the ldae stage again, or restore its ldm."
        )
    state = load_parts(folder, ENCODER, ESTIMATOR)
    encoder = _encoder(card, state, folder)
    guided = build_guided_unet(unet, ldm_card["architecture"], encoder.dim)
    load_part(guided.estimator, state, ESTIMATOR, folder)
    return encoder, guided.eval().requires_grad_(False), card


def load_encoder(folder: str | Path) -> "tuple[SemanticEncoder, dict[str, Any]]":
    """Restore the semantic encoder of an ldae alone, frozen and in evaluation mode; and its card.

    Raises:
        UserError: the model is missing, damaged or of another kind.
    """
    card = load_card_of_kind(folder, "ldae")
    return _encoder(card, load_state(folder, ENCODER), folder), card


def load_slices(folder: str | Path) -> "tuple[SemanticEncoder, dict[str, Any]]":
    """Restore the branch of slices of an ldae's encoder; and the card of the ldae.

    Raises:
        UserError: as :func:`load_encoder`; or its encoder is linear, of components alone.
    """
    encoder, card = load_encoder(folder)
    kind = card["architecture"].get("kind", "slices")
    require(
        kind != "components",
        f"The encoder of {folder} is of components alone: nothing of it learns on. The linear "
        "probes say what its code tells; for fine-tuning train it with ldae.encoder.kind: slices "
        "or both.",
    )
    return (encoder.slices if kind == "both" else encoder), card


def _encoder(
    card: dict[str, Any], state: dict[str, Tensor], folder: str | Path
) -> "SemanticEncoder":
    from ldae.nets.semantic_encoder import build_encoder

    # Not on the meta device: a timm backbone may hold buffers that no state dict carries.
    encoder = build_encoder(as_restored(card["architecture"]))
    load_part(encoder, state, ENCODER, folder)
    return encoder.eval().requires_grad_(False)


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}


def load_part(net: nn.Module, state: dict[str, Tensor], prefix: str, source: str | Path) -> None:
    """Load into ``net`` the tensors of ``state`` whose keys begin with ``prefix``, strictly."""
    load_strictly(net, _part(state, prefix), f"{source} ({prefix.rstrip('.')})")


def load_dae(folder: str | Path) -> "tuple[SemanticEncoder, ConditionalUNet, dict[str, Any]]":
    """Restore the voxel-space DAE, frozen and in evaluation mode, on the CPU; and its card.

    Raises:
        UserError: the model is missing, damaged or of another kind.
    """
    from ldae.nets.conditional_unet import build_conditional_unet
    from ldae.nets.semantic_encoder import build_slice_encoder

    card = load_card_of_kind(folder, "dae")
    state = load_parts(folder, ENCODER, UNET)
    encoder = build_slice_encoder(as_restored(card["architecture"]["encoder"]))
    load_part(encoder, state, ENCODER, folder)
    unet = build_conditional_unet(as_restored(card["architecture"]), encoder.dim)
    load_part(unet, state, UNET, folder)
    for net in (encoder, unet):
        net.eval().requires_grad_(False)
    return encoder, unet, card


def load_supervised(folder: str | Path) -> "tuple[SupervisedEncoder, dict[str, Any]]":
    """Restore a supervised network, frozen and in evaluation mode, on the CPU; and its card.

    Raises:
        UserError: the model is missing, damaged or of another kind.
    """
    from ldae.nets.semantic_encoder import build_supervised

    card = load_card_of_kind(folder, "supervised")
    cfg = as_restored(card["architecture"])
    cfg["encoder"] = as_restored(cfg["encoder"])
    net = build_supervised(cfg, card["outputs"])
    load_strictly(net, load_state(folder), str(folder))
    return net.eval().requires_grad_(False), card
