"""Stop training where torch's kernels would return garbage instead of gradients."""

import torch
from torch import Tensor, nn

from ldae.errors import UserError


def guard_gradients(net: nn.Module, what: str, how: str) -> None:
    """Make every 3-D convolution of ``net`` refuse to be trained where its gradient is undefined.

    In bfloat16 on CPUs the weight gradient of a 3-D convolution of stride 1 whose result is two
    voxels wide along x is read from memory never written (torch 2.13, oneDNN; measured: kernels of
    3 and 4 from 16 channels on; other widths, kernels of 1, a stride of 2 and float32 are right).
    The forward pass is right, so that only NaN some steps later would tell.

    Args:
        net: Its convolutions get a forward hook, which raises :class:`ldae.errors.UserError`.
        what: The network as the user knows it.
        how: What to change instead, beginning with a config key.
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
