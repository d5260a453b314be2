"""Exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Ema:
    """``shadow <- decay shadow + (1 - decay) weight``, once per optimizer step.

    Only parameters that are trained are averaged; buffers and frozen parts are not touched.

    Args:
        modules: Named modules; averaged parameters are called ``<name>.<parameter>``.
        decay: 0.999 in the paper's Tables 3 and 4.
    """

    def __init__(self, modules: dict[str, nn.Module], decay: float):
        self.decay = decay
        self.parameters = {
            f"{name}.{key}": parameter
            for name, module in modules.items()
            for key, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.shadow = {key: value.detach().clone() for key, value in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move every average towards its weight."""
        weights = [weight.detach() for weight in self.parameters.values()]
        torch._foreach_lerp_(list(self.shadow.values()), weights, 1.0 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the modules hold the averages; after it their own weights again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for key, parameter in self.parameters.items():
            parameter.data, self.shadow[key] = self.shadow[key], parameter.data

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages by name."""
        return dict(self.shadow)

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over averages saved by :meth:`state_dict`; names must agree."""
        if state.keys() != self.shadow.keys():
            raise ValueError("the averages in the checkpoint belong to other parameters")
        for key, value in state.items():
            self.shadow[key].copy_(value)
