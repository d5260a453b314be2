"""Safe reader of torch files: tensors only; no code that a file names is run.

A checkpoint of a training framework holds more than tensors: hyperparameters, states of callbacks,
objects of packages that need not be installed here. Torch's restricted unpickler
(``weights_only``) refuses those. Here it replaces each by an inert stand-in, so that the tensors
beside them can be read. No class or function named by the file is ever imported or called.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from ldae.errors import UserError, require


class Unread:
    """Stand-in for an object of the file that is not read; accepts anything, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Unread":
        """Make one from any arguments."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        """Drop the object's content."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Drop an item."""


def read_torch_file(path: str | Path, what: str) -> Any:
    """Read a file of ``torch.save``; objects other than tensors and plain containers are dropped.

    Args:
        path: The file, of torch 1.6 or later.
        what: Use of the file, in the user's terms, for messages.

    Returns:
        The content, its tensors memory-mapped on the CPU.

    Raises:
        UserError: the file is missing, is not of this format, or cannot be read even with
            stand-ins.
    """
    require(Path(path).is_file(), f"{what}: the file {path} does not exist.")
    require(
        zipfile.is_zipfile(path),
        f"{what}: {path} is not a file of torch.save (torch 1.6 or later); it may be damaged or an "
        "incomplete download.",
    )
    # One subclass each: the unpickler distinguishes globals by their class.
    stand_ins = [
        (type("Unread", (Unread,), {}), name) for name in get_unsafe_globals_in_checkpoint(path)
    ]
    try:
        with safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (UnpicklingError, RuntimeError, TypeError, AttributeError) as error:
        # Torch wraps the cause in advice to switch its safety off, which is dropped here.
        lines = [line for line in str(error).splitlines() if line and "`" not in line]
        reason = lines[0] if lines else type(error).__name__
        raise UserError(f"{what}: {path} cannot be read safely: {reason}") from error


def state_dict_of(content: Any, path: str | Path, what: str) -> dict[str, Tensor]:
    """State dict in the content of a torch file: the content, or its item ``state_dict``.

    Args:
        content: As :func:`read_torch_file` returns it.
        path: The file, for the message.
        what: Use of the file, in the user's terms, for the message.

    Raises:
        UserError: the content is no mapping from names to tensors.
    """
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    require(
        isinstance(state, Mapping)
        and bool(state)
        and all(isinstance(key, str) and torch.is_tensor(v) for key, v in state.items()),
        f"{what}: {path} holds no state dict (tensors by name).",
    )
    return dict(state)
