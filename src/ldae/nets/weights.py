"""Staged weights: files that must exist and must fit, never a silent random start."""

from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ldae.errors import UserError, require
from ldae.nets.torch_files import read_torch_file, state_dict_of

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt")


def load_weights(path: str | Path, what: str, how_to_stage: str) -> dict[str, Tensor]:
    """Read a safetensors file, or a state dict written by ``torch.save``.

    Args:
        path: The file; its name ends in ``.safetensors``, or in ``.pt``, ``.pth`` or ``.ckpt``.
        what: What it is for, as the user knows it (a config key).
        how_to_stage: One sentence saying how to provide it.

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
    """Load ``state`` into ``net``: the same keys and the same shapes.

    Args:
        net: The network, changed in place.
        state: Its tensors by key.
        source: Where the tensors come from, for the message.
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
