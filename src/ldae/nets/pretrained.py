"""Pretrained weights: reading staged files, renaming their keys, loading them strictly.

A file that is missing or does not fit is an error, never a silent random start.

The renaming functions map names in others' files to names in our networks. They compute no tensor
and return a new state dict. Unknown names pass through unchanged, so that :func:`load_strictly`
reports them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ldae.errors import UserError, require
from ldae.nets.torch_files import read_torch_file, state_dict_of

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt")
Rules = Sequence[tuple[str, str]]
# MONAI's GenerativeModels (the UK Biobank bundle and the authors' weights) -> MONAI 1.4 and later:
# attention went into a submodule, the convolution after upsampling was named.
MONAI_RULES: Rules = (
    (r"^(.*\.blocks\.\d+)\.(to_[qkv])\.", r"\1.attn.\2."),
    (r"^(.*\.blocks\.\d+)\.proj_attn\.", r"\1.attn.out_proj."),
    (r"^(decoder\.blocks\.\d+)\.conv\.conv\.", r"\1.postconv.conv."),
)
# torchvision's ConvNeXt -> timm's. Even features are a stem or downsampling, odd ones a stage.
CONVNEXT_BLOCK: Rules = (
    (r"layer_scale$", "gamma"),
    (r"block\.0\.", "conv_dw."),
    (r"block\.2\.", "norm."),
    (r"block\.3\.", "mlp.fc1."),
    (r"block\.5\.", "mlp.fc2."),
)
CONVNEXT_HEAD: Rules = ((r"^classifier\.0\.", "head.norm."), (r"^classifier\.2\.", "head.fc."))


def load_weights(path: str | Path, what: str, how_to_stage: str) -> dict[str, Tensor]:
    """Read a safetensors file, or a state dict written by ``torch.save``.

    Args:
        path: The file; its name ends in ``.safetensors``, or in ``.pt``, ``.pth`` or ``.ckpt``.
        what: Use of the weights, in the user's terms (a config key), for messages.
        how_to_stage: One sentence on how to provide the file, for messages.

    Raises:
        UserError: the file does not exist or cannot be read.
    """
    path = Path(path)
    require(path.is_file(), f"{what}: the weights {path} do not exist. {how_to_stage}")
    if path.suffix in TORCH_SUFFIXES:
        return state_dict_of(read_torch_file(path, what), path, what)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"{what}: {path} is not a whole safetensors file ({error}). {how_to_stage}"
        ) from error


def _names(keys: Iterable[str], limit: int = 8) -> str:
    keys = sorted(keys)
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more


def load_strictly(
    net: nn.Module, state: dict[str, Tensor], source: str, assign: bool = False
) -> None:
    """Load ``state`` into ``net``; keys and shapes must be the same.

    Args:
        net: The network, changed in place.
        state: Its tensors by key.
        source: Origin of the tensors, for the message.
        assign: Take the tensors themselves instead of copying them (for a net on the meta device).

    Raises:
        UserError: naming the keys that are missing, unexpected or of another shape.
    """
    own = net.state_dict()
    missing, unexpected = own.keys() - state.keys(), state.keys() - own.keys()
    reshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    ]
    problems = [
        f"{label}: {_names(keys)}"
        for label, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("other shape", reshaped),
        )
        if keys
    ]
    if problems:
        raise UserError(
            f"The weights {source} do not fit the configured {type(net).__name__}. "
            + "; ".join(problems)
            + "."
        )
    net.load_state_dict(state, assign=assign)


def rename(key: str, rules: Rules) -> str:
    """Apply the first rule that matches."""
    for pattern, replacement in rules:
        new, count = re.subn(pattern, replacement, key)
        if count:
            return new
    return key


def monai_autoencoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an AutoencoderKL of MONAI's GenerativeModels, or of MONAI itself, to MONAI >= 1.4."""
    return {rename(key, MONAI_RULES): value for key, value in state.items()}


def timm_convnext(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a torchvision ConvNeXt to timm's keys, layer scales flattened; timm's keys stay."""
    if not any(key.startswith("features.") for key in state):
        return dict(state)
    return {
        _convnext_key(key): value.flatten() if key.endswith(".layer_scale") else value
        for key, value in state.items()
    }


def _convnext_key(key: str) -> str:
    match = re.match(r"features\.(\d+)\.(\d+)\.(.+)$", key)
    if match is None:
        return rename(key, CONVNEXT_HEAD)
    feature, index, rest = int(match[1]), match[2], match[3]
    if feature == 0:
        return f"stem.{index}.{rest}"
    if feature % 2:
        return f"stages.{feature // 2}.blocks.{index}.{rename(rest, CONVNEXT_BLOCK)}"
    return f"stages.{feature // 2}.downsample.{index}.{rest}"


def tensors_below(state: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Tensors below the first of ``prefixes`` that occurs, keys without it; all if none occurs."""
    for prefix in prefixes:
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if found:
            return found
    return dict(state)


def without_alias(state: Mapping[str, Tensor], alias: str, original: str) -> dict[str, Tensor]:
    """Drop the second names of a module that was registered twice, if both are equal.

    Args:
        state: Tensors by key.
        alias: Prefix of the keys to drop.
        original: Prefix of the keys that stay.

    Raises:
        UserError: a tensor below ``alias`` has no original, or differs from it.
    """
    kept = {key: value for key, value in state.items() if not key.startswith(alias)}
    for key in state.keys() - kept.keys():
        twin = original + key.removeprefix(alias)
        require(
            twin in kept and kept[twin].equal(state[key]),
            f"The weights {key} should be a second name of {twin}, but differ from it.",
        )
    return kept
