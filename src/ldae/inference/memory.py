"""Batch size of evaluations: ``evaluation.batch_size: auto`` takes what fits the GPU.

A result does not depend on it beyond rounding: every scan has its own fixed noise.
"""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ldae.compute import Compute
from ldae.config import AUTO
from ldae.errors import UserError
from ldae.inference.trained_system import TrainedSystem
from ldae.nets.memory import (
    GIB,
    Gpu,
    hollow_copy,
    largest_fit,
    peak_bytes,
    visible_gpu,
    weight_bytes,
    without_content,
)

SIZES = (1, 2, 4, 8)  # the last one on CPUs
log = logging.getLogger(__name__)
Needed = Callable[[int], int]


def fitting_settings(system: TrainedSystem, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Section ``evaluation`` with a number in place of ``batch_size: auto``.

    Raises:
        UserError: not even one scan fits the GPU.
    """

    def needed(size: int) -> int:
        return system_bytes(system, size)

    return {**cfg, "batch_size": fitting_batch(cfg["batch_size"], system.compute, needed)}


def fitting_batch(asked: int | str, compute: Compute, needed: Needed) -> int:
    """Scans to compute at once: as asked, or for ``auto`` what fits the GPU that is used.

    Args:
        asked: A number, or ``auto``.
        compute: The device.
        needed: Bytes that a batch of so many scans needs.

    Raises:
        UserError: not even one scan fits.
    """
    if asked != AUTO:
        return int(asked)
    if not compute.cuda:
        return SIZES[-1]
    gpu = visible_gpu(compute.device.index or 0)
    size = largest_batch(gpu, needed)
    log.info("batch_size %d: %.1f GiB by the model; %s", size, needed(size) / GIB, gpu.described)
    return size


def largest_batch(gpu: Gpu, needed: Needed) -> int:
    """The largest of :data:`SIZES` that fits a GPU.

    Raises:
        UserError: not even one scan fits.
    """
    size = largest_fit(SIZES, needed, gpu.bytes)
    if size is None:
        raise UserError(
            f"evaluation.batch_size: one scan needs {needed(1) / GIB:.1f} GiB by the model of "
            f"memory, more than fits ({gpu.described}). Use a larger GPU; to try nevertheless, "
            "set evaluation.batch_size to 1."
        )
    return size


def system_bytes(system: TrainedSystem, size: int) -> int:
    """Bytes that an evaluation of ``size`` scans at once needs: weights and the largest call."""
    return max(call_bytes(system, size).values())


def call_bytes(system: TrainedSystem, size: int) -> dict[str, int]:
    """Bytes that each of its largest calls needs, by name, with the weights of all networks."""
    weights = weight_bytes(value for value in vars(system).values() if isinstance(value, nn.Module))
    with without_content():
        calls = hollow(system).largest_calls(torch.rand(size, 1, *system.volume_shape))
        return {name: weights + peak_bytes([call]) for name, call in calls.items()}


def network_bytes(net: nn.Module, shape: Sequence[int], size: int) -> int:
    """Bytes that a network needs, with weights, for ``size`` volumes of a shape, in float32."""
    with without_content(), torch.no_grad():
        hollowed = hollow_copy(net).eval()
        x = torch.rand(size, 1, *shape)
        return weight_bytes([net]) + peak_bytes([lambda: hollowed(x)])


def hollow(system: TrainedSystem) -> TrainedSystem:
    """A system on the CPU whose networks have no content, in the precision of the given one."""
    other = copy.copy(system)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    other.compute = Compute(torch.device("cpu"), 1, system.compute.precision, scaler)
    for name, value in vars(system).items():
        if isinstance(value, nn.Module):
            setattr(other, name, hollow_copy(value).eval())
    other.schedule = system.schedule.to(torch.device("cpu"))
    return other
