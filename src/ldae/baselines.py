"""Restores the baselines of the paper's Tables 5 to 7: voxel-space DAE and supervised encoder.

Apart from :mod:`ldae.modelfile`, which every stage depends on: a change here trains no other model
anew.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ldae.modelfile import ENCODER, RESTORED, card_of, load_part, load_state, parts_of, prefixed
from ldae.nets.conditional_unet import ConditionalUNet, build_conditional_unet
from ldae.nets.semantic_encoder import SemanticEncoder, build_encoder
from ldae.nets.supervised import SupervisedEncoder, build_supervised
from ldae.nets.weights import load_strictly

UNET = "unet."


def dae_state(encoder: nn.Module, unet: nn.Module) -> dict[str, Tensor]:
    """Join the two parts of the voxel-space DAE into one state dict, keys prefixed."""
    return prefixed(encoder, ENCODER) | prefixed(unet, UNET)


def load_dae(folder: str | Path) -> tuple[SemanticEncoder, ConditionalUNet, dict[str, Any]]:
    """Restore the voxel-space DAE, frozen and in evaluation mode, on the CPU; and its card.

    Raises:
        UserError: the model is missing or damaged.
    """
    card = card_of(folder, "dae")
    state = parts_of(folder, ENCODER, UNET)
    encoder = build_encoder({**card["architecture"]["encoder"], **RESTORED})
    load_part(encoder, state, ENCODER, folder)
    unet = build_conditional_unet({**card["architecture"], **RESTORED}, encoder.dim)
    load_part(unet, state, UNET, folder)
    for net in (encoder, unet):
        net.eval().requires_grad_(False)
    return encoder, unet, card


def load_supervised(folder: str | Path) -> tuple[SupervisedEncoder, dict[str, Any]]:
    """Restore a supervised network, frozen and in evaluation mode, on the CPU; and its card.

    Raises:
        UserError: the model is missing or damaged.
    """
    card = card_of(folder, "supervised")
    cfg = card["architecture"]
    cfg = {**cfg, **RESTORED, "encoder": {**cfg["encoder"], **RESTORED}}
    net = build_supervised(cfg, card["outputs"])
    load_strictly(net, load_state(folder), str(folder))
    return net.eval().requires_grad_(False), card
