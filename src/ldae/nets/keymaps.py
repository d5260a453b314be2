"""Names of weights in others' files -> names in our networks. Pure renaming, no tensor is computed.

Every function returns a new state dict and passes names it does not know through unchanged, so that
:func:`ldae.nets.weights.load_strictly` reports them.
"""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from ldae.errors import require

Rules = Sequence[tuple[str, str]]

# MONAI's GenerativeModels, in which the UK Biobank bundle and the authors' weights are written ->
# MONAI 1.4 and later: attention went into a submodule, the convolution after upsampling was named.
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


def rename(key: str, rules: Rules) -> str:
    """Apply the first rule that matches."""
    for pattern, replacement in rules:
        new, count = re.subn(pattern, replacement, key)
        if count:
            return new
    return key


def monai_autoencoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """AutoencoderKL of MONAI's GenerativeModels, or already MONAI's own -> MONAI >= 1.4."""
    return {rename(key, MONAI_RULES): value for key, value in state.items()}


def timm_convnext(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ConvNeXt of torchvision, or already timm's -> timm's."""
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


def part(state: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """The tensors below the first of ``prefixes`` that occurs, without it; all if none occurs."""
    for prefix in prefixes:
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if found:
            return found
    return dict(state)


def without_alias(state: Mapping[str, Tensor], alias: str, original: str) -> dict[str, Tensor]:
    """Drop the names of a module that was registered twice, after checking that both are equal.

    Raises:
        UserError: an alias without its original, or one that differs from it.
    """
    kept = {key: value for key, value in state.items() if not key.startswith(alias)}
    for key in state.keys() - kept.keys():
        twin = original + key.removeprefix(alias)
        require(
            twin in kept and kept[twin].equal(state[key]),
            f"The weights {key} should be a second name of {twin}, but differ from it.",
        )
    return kept
