"""How networks are run, apart from what they are: recomputed activations, compiled parts.

Neither changes a result beyond rounding, nor the names in a state dict, so that models trained one
way are used the other way. Compiled dropout alone draws other numbers from the same seed.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Net = TypeVar("Net", bound=nn.Module)


def run(call: Callable[..., Tensor], *args: Tensor | None, recompute: bool) -> Tensor:
    """Call; with ``recompute`` keep only the inputs and compute again in the backward pass.

    Dropout draws the same numbers both times. Where no gradient is recorded, a plain call.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(call, *args, use_reentrant=False)
    return call(*args)


class Recomputable(nn.Module):
    """A module that can recompute the activations of its parts: set :attr:`checkpointing`."""

    checkpointing: bool = False

    def compiled_parts(self) -> list[nn.Module]:
        """The submodules to compile; by default the module itself."""
        return [self]


def prepare(net: Net, cfg: Mapping[str, Any], backend: str = "inductor") -> Net:
    """Apply the optional keys ``checkpointing`` and ``compile`` of a stage's section to a network.

    Args:
        net: Changed in place; parts that are a :class:`Recomputable` obey.
        cfg: Section ``autoencoder``, ``ldm`` or ``ldae``; absent keys are false.
        backend: Of ``torch.compile``.

    Returns:
        ``net``. Compilation happens at the first call, in some minutes at the paper's size.
    """
    parts = [part for part in net.modules() if isinstance(part, Recomputable)]
    for part in parts:
        part.checkpointing = bool(cfg.get("checkpointing", False))
    if cfg.get("compile", False):
        for part in parts:
            for module in part.compiled_parts():
                module.compile(backend=backend)
    return net
