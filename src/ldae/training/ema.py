"""Exponential moving average (EMA) of weights, with statistics of batch norms that fit it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from ldae.compute import Compute, detached
from ldae.data.volume_store import ByRow
from ldae.nets.semantic_encoder import SemanticEncoder

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CALIBRATION_SCANS = 256
CALIBRATION_BATCH = 16


class Ema:
    """``shadow <- decay shadow + (1 - decay) weight``, once per optimizer step.

    Only trained parameters are averaged, not buffers or frozen parameters.

    Args:
        modules: Modules by name; an average is called ``<name>.<parameter>``.
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
        """Within the context the modules hold the averages, afterwards their own weights again."""
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
        """Restore averages saved by :meth:`state_dict`; raise ValueError if the names differ."""
        if state.keys() != self.shadow.keys():
            raise ValueError("the averages in the checkpoint belong to other parameters")
        for key, value in state.items():
            self.shadow[key].copy_(value)


def batch_norms(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """All batch norms (1D, 2D and 3D) inside the modules."""
    return [
        layer for module in modules for layer in module.modules() if isinstance(layer, BATCH_NORMS)
    ]


@torch.inference_mode()
def recalibrate(
    encoder: SemanticEncoder,
    encode: Callable[[torch.Tensor], torch.Tensor],
    volumes: ByRow,
    rows: np.ndarray,
    compute: Compute,
) -> None:
    """Recompute the running statistics of the encoder's batch norms for its current weights.

    Statistics collected in training belong to the trained weights, not to their average. A small
    shift of the mean of y_sem can be as large as the differences between people. Without batch
    norms this does nothing.

    Args:
        encoder: The encoder, in evaluation mode.
        encode: Calls it in the stage's precision: (B, 1, X, Y, Z) to y_sem (B, d).
        volumes: Volumes by row.
        rows: Training rows; at most the first :data:`CALIBRATION_SCANS` are used.
        compute: The device.
    """
    last = encoder.standardize
    inner = [norm for norm in batch_norms([encoder]) if norm is not last]
    rows = rows[:CALIBRATION_SCANS]

    def codes() -> torch.Tensor:
        """y_sem of the rows (N, d)."""
        parts = np.array_split(rows, -(-len(rows) // CALIBRATION_BATCH))
        return torch.cat([encode(compute.move(volumes.volumes(part))) for part in parts])

    if inner:
        momenta = [norm.momentum for norm in inner]
        for norm in inner:
            norm.reset_running_stats()
            norm.momentum = None  # plain mean over all batches
            norm.train()
        codes()
        for norm, momentum in zip(inner, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    if isinstance(last, BATCH_NORMS):
        last.running_mean.zero_()
        last.running_var.fill_(1.0)
        # The code of the slices is the first part of y_sem, or all of it.
        y_sem = codes()[:, : last.num_features].double()
        y_sem *= (1.0 + last.eps) ** 0.5  # undo a layer of mean 0, variance 1
        last.running_mean.copy_(y_sem.mean(0))
        last.running_var.copy_(y_sem.var(0))


class AveragedWeights(AbstractContextManager):
    """Within the context the networks hold the EMA weights, and batch-norm statistics that fit.

    The encoder is in evaluation mode there, and afterwards in its mode before. The context may be
    nested; the statistics are computed once, at the outermost entry.

    Args:
        ema: Averages of the encoder and of all that is trained with it.
        encoder, encode, volumes, rows, compute: See :func:`recalibrate`.
    """

    def __init__(
        self,
        ema: Ema,
        encoder: SemanticEncoder,
        encode: Callable[[torch.Tensor], torch.Tensor],
        volumes: ByRow,
        rows: np.ndarray,
        compute: Compute,
    ):
        self.ema, self.encoder = ema, encoder
        self.calibration = (encoder, encode, volumes, rows, compute)
        self.depth, self.inside = 0, ExitStack()

    def __enter__(self) -> None:
        if self.depth == 0:
            with ExitStack() as inside:
                inside.callback(self._restore, detached(dict(self.encoder.named_buffers())))
                # In training mode, statistics would be collected from codes already standardised.
                inside.callback(self.encoder.train, self.encoder.training)
                self.encoder.eval()
                inside.enter_context(self.ema.applied())
                recalibrate(*self.calibration)
                self.inside = inside.pop_all()
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.inside.close()

    def _restore(self, buffers: Mapping[str, torch.Tensor]) -> None:
        for key, buffer in self.encoder.named_buffers():
            buffer.copy_(buffers[key])
