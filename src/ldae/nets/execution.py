"""Execution of networks: recomputed activations, compiled parts, a guard against wrong gradients.

Recomputing and compiling change no result beyond rounding, and no name in a state dict. A model
that was trained with them is used without them, and the reverse. The guard stops a training where
torch's kernels would return garbage instead of gradients.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ldae.errors import UserError

Net = TypeVar("Net", bound=nn.Module)


def guard_gradients(net: nn.Module, what: str, how: str) -> None:
    """Make every 3-D convolution of ``net`` refuse to be trained where its gradient is undefined.

    In bfloat16 on CPUs the weight gradient of a 3-D convolution of stride 1 whose result is two
    voxels wide along x is read from memory never written (torch 2.13, oneDNN; measured: kernels of
    3 and 4 from 16 channels on; other widths, kernels of 1, a stride of 2 and float32 are right).
    The forward pass is right: without the guard only NaN some steps later would show the fault.

    Args:
        net: Its convolutions get a forward hook, which raises :class:`ldae.errors.UserError`.
        what: Name of the network, for the message.
        how: The remedy, for the message: a config key and its value.
    """
    message = (
        f"A convolution of the {what} gives a result two voxels wide along x, for which bfloat16 "
        f"gradients are undefined on CPUs: set {how}."
    )

    def refuse(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if (
            output.shape[2] == 2
            and output.device.type == "cpu"
            and conv.weight.requires_grad
            and torch.is_grad_enabled()
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") is torch.bfloat16
        ):
            raise UserError(message)

    for module in net.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1 and module.stride[0] == 1:
            module.register_forward_hook(refuse)


def call_recomputed(call: Callable[..., Tensor], *args: Tensor | None, recompute: bool) -> Tensor:
    """Call; with ``recompute`` keep only the inputs and call again in the backward pass.

    Dropout draws the same numbers both times. Without gradients it is a plain call.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(call, *args, use_reentrant=False)
    return call(*args)


class Recomputable(nn.Module):
    """Module that recomputes the activations of its parts if :attr:`checkpointing` is set."""

    checkpointing: bool = False

    def compiled_parts(self) -> list[nn.Module]:
        """The submodules to compile; by default the module itself."""
        return [self]


def apply_execution_options(net: Net, cfg: Mapping[str, Any], backend: str = "inductor") -> Net:
    """Apply the optional keys ``checkpointing`` and ``compile`` of a stage's section to a network.

    Args:
        net: Changed in place: those of its modules that are a :class:`Recomputable`.
        cfg: Section of the stage, such as ``ldm``; absent keys are false. With ``compile: auto``
            nothing is compiled here, but by the training (:mod:`ldae.training.compile_choice`).
        backend: Backend of ``torch.compile``.

    Returns:
        ``net``. Compilation happens at the first call and takes minutes at the paper's size.

    Raises:
        ValueError: ``checkpointing`` is still ``auto``.
    """
    recompute = cfg.get("checkpointing", False)
    if not isinstance(recompute, bool):
        raise ValueError(f"checkpointing is {recompute!r}; it is to be chosen before")
    parts = [part for part in net.modules() if isinstance(part, Recomputable)]
    for part in parts:
        part.checkpointing = recompute
    if cfg.get("compile", False) is True:
        compile_parts([net], backend)
    return net


def compile_parts(nets: Iterable[nn.Module], backend: str = "inductor") -> None:
    """Compile the parts of networks that are :class:`Recomputable`, in place, at their next call.

    Dropout draws the numbers that it draws without compilation.
    """
    import torch._inductor.config

    torch._inductor.config.fallback_random = True
    for module in _compiled_parts(nets):
        module.compile(backend=backend)


def uncompile_parts(nets: Iterable[nn.Module]) -> None:
    """Undo :func:`compile_parts`."""
    for module in _compiled_parts(nets):
        module._compiled_call_impl = None


def _compiled_parts(nets: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for net in nets:
        for part in net.modules():
            if isinstance(part, Recomputable):
                yield from part.compiled_parts()
