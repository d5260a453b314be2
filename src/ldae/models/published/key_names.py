"""Key names of the authors' networks -> ours: the denoiser with its estimator, and the encoder.

Established from the module definitions of the authors' public repository (read in November 2026),
and checked by running those modules beside ours on the same random weights: equal outputs. Three
differences do not show in the names:

- their attention splits heads before query, key and value, ours after (the same with one head);
- both halves of their resampling act on the inner two axes alone: ``ldm.resample: inner_axes``;
- their encoder normalises after the attention, adds interleaved sinusoidal positions, and holds its
  backbone under two names.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ldae.errors import require
from ldae.nets.gradient_estimator import GuidedUNet
from ldae.nets.pretrained import load_strictly, timm_convnext, without_alias
from ldae.nets.semantic_encoder import SemanticEncoder, slice_positions
from ldae.nets.unet import UpPath

BLOCK = {  # ours -> theirs
    "norm_in": "in_layers.0",
    "conv_in": "in_layers.2",
    "time": "emb_layers.1",
    "semantic": "emb_z_layers.1",
    "norm_out": "out_layers.0",
    "conv_out": "out_layers.3",
    "skip": "skip_connection",
}
ATTENTION = {"norm": "norm", "qkv": "qkv", "out": "proj_out"}
ENCODER = {  # theirs -> ours
    "query_projection": "query",
    "key_projection": "key",
    "value_projection": "value",
    "soft_attention.linear": "soft_attention",
    "layer_norm_after_attention": "norm",
}
BACKBONE, BACKBONE_ALIAS = "backbone.backbone.", "slice_distributed.module.backbone."
POSITIONS = "positional_encoding.pe"
Modules = Iterator[tuple[str, str]]  # (ours, theirs), names of modules


def _stage(ours: str, theirs: str, block: int = 0) -> Modules:
    """Names in a stage: its residual block, and the attention that follows it."""
    yield from ((f"{ours}.block.{a}", f"{theirs}.{block}.{b}") for a, b in BLOCK.items())
    yield from (
        (f"{ours}.attention.{a}", f"{theirs}.{block + 1}.{b}") for a, b in ATTENTION.items()
    )


def _up(ours: str, theirs: str, path: UpPath) -> Modules:
    """Names in an up path; ``theirs`` is "" for the denoiser's, "shift_" for the estimator's."""
    yield from _stage(f"{ours}.middle.0", f"{theirs}middle_block")
    yield from _stage(f"{ours}.middle.1", f"{theirs}middle_block", block=2)
    group, last = -1, 0
    for index, (stage, joins) in enumerate(zip(path.stages, path.joins, strict=True)):
        # Upsampling: here a stage of its own, there the last layer of the group before it.
        group, layer = (group + 1, 0) if joins else (group, last + 1)
        last = layer + (stage.attention is not None)
        yield from _stage(f"{ours}.stages.{index}", f"{theirs}output_blocks.{group}", layer)
    yield f"{ours}.norm", f"{theirs}out.0"
    yield f"{ours}.conv", f"{theirs}out.2"


def _guided(net: GuidedUNet) -> Modules:
    yield from (("unet.time.0", "time_embed.0"), ("unet.time.2", "time_embed.2"))
    yield "unet.down.conv", "input_blocks.0.0"
    for index in range(len(net.unet.down.stages)):
        yield from _stage(f"unet.down.stages.{index}", f"input_blocks.{index + 1}")
    yield from _up("unet.up", "", net.unet.up)
    yield "estimator.semantic", "label_emb"
    yield from _up("estimator.up", "shift_", net.estimator.up)


def load_guided(net: GuidedUNet, state: Mapping[str, Tensor], source: str) -> None:
    """Load the authors' denoiser with its gradient estimator into ours.

    Args:
        net: Built with the authors' architecture; changed in place.
        state: Their tensors by key.
        source: Origin of the tensors, for messages.

    Raises:
        UserError: naming the tensors that are missing, unexpected or of another shape.
    """
    names = {
        f"{theirs}.{kind}": f"{ours}.{kind}"
        for ours, theirs in _guided(net)
        for kind in ("weight", "bias")
    }
    ours = {names.get(key, key): value for key, value in state.items()}
    heads = net.unet.shape.num_heads
    for key, value in ours.items():
        if ".attention.qkv." in key:
            split = value.unflatten(0, (heads, 3, -1))
            ours[key] = split.transpose(0, 1).flatten(0, 2).contiguous()
    load_strictly(net, ours, source)


def load_encoder(net: SemanticEncoder, state: Mapping[str, Tensor], source: str) -> None:
    """Load the authors' semantic encoder into ours; arguments and errors as :func:`load_guided`.

    Their table of slice positions must equal the one that ours computes.
    """
    state = without_alias(state, BACKBONE_ALIAS, BACKBONE)
    backbone = {k.removeprefix(BACKBONE): v for k, v in state.items() if k.startswith(BACKBONE)}
    ours = {f"backbone.{key}": value for key, value in timm_convnext(backbone).items()}
    for key, value in state.items():
        module, _, kind = key.rpartition(".")
        if key == POSITIONS:
            length, dim = value.shape[-2:]
            require(
                torch.allclose(value.reshape(length, dim), slice_positions(length, dim), atol=1e-4),
                f"{source}: {key} differs from the slice positions of the published encoder.",
            )
        elif not key.startswith(BACKBONE):
            ours[f"{ENCODER.get(module, module)}.{kind}"] = value
    load_strictly(net, ours, source)
