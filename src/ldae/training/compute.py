"""Where and how numbers are computed: device, threads, precision, memory layout."""

import platform
import resource
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

import torch
from torch import nn

from ldae.errors import require

PRECISIONS = ("fp32", "bf16")
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """A prepared device. Make it by :meth:`prepare`."""

    device: torch.device
    threads: int
    precision: str

    @classmethod
    def prepare(cls, device: str, threads: int, precision: str) -> "Compute":
        """Check the device and set threads and kernels for it.

        On CUDA: TF32 for what stays fp32, and cuDNN's choice of algorithms by measurement.

        Raises:
            UserError: an unknown device or precision, or cuda without a GPU.
        """
        require(device in ("cuda", "cpu"), f"device is {device!r}; allowed are cuda, cpu.")
        require(
            precision in PRECISIONS,
            f"precision is {precision!r}; allowed are {', '.join(PRECISIONS)}.",
        )
        require(
            device == "cpu" or torch.cuda.is_available(),
            "config says device: cuda, but this process sees no GPU. Ask the scheduler for one, "
            "or set device: cpu.",
        )
        torch.set_num_threads(threads)
        if device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True
            torch.cuda.reset_peak_memory_stats()
        return cls(torch.device(device), threads, precision)

    @property
    def cuda(self) -> bool:
        """Whether this is a GPU."""
        return self.device.type == "cuda"

    def place(self, module: Module) -> Module:
        """Move a module here; on CUDA convolutions get channels-last weights (slower on CPUs)."""
        module = module.to(self.device)
        if self.cuda:
            use_channels_last(module)
        return module

    def move(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor here, without waiting where its memory is pinned."""
        tensor = tensor.to(self.device, non_blocking=True)
        if self.cuda and tensor.ndim == 5:
            tensor = tensor.contiguous(memory_format=torch.channels_last_3d)
        return tensor

    def autocast(self) -> AbstractContextManager:
        """bf16 autocast, or nothing for fp32. bf16 has fp32's range, so no loss scaling."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def peak_memory_mib(self) -> float:
        """Peak memory so far: of the GPU, or this process's resident set."""
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def describe(self) -> dict[str, str | int]:
        """What a model's card says of the machine."""
        name = torch.cuda.get_device_name() if self.cuda else platform.processor()
        return {
            "device": self.device.type,
            "device_name": name or platform.machine(),
            "threads": self.threads,
            "precision": self.precision,
        }


def use_channels_last(module: nn.Module) -> None:
    """Lay out the weights of 2-D and 3-D convolutions channels last, in place.

    ``Module.to(memory_format=...)`` cannot do it for a network that has both.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in module.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = {name: version(name) for name in ("torch", "monai", "numpy", "timm")}
    return {"python": platform.python_version(), **packages}
