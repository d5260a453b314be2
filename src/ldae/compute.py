"""Compute device of a process: GPU or CPU, threads, precision, memory layout, versions."""

import platform
import resource
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

import torch
from torch import nn

from ldae.errors import require

PRECISIONS = ("fp32", "bf16", "fp16")
# Layers whose weights autocast casts, of those that the networks have.
AUTOCAST_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
Module = TypeVar("Module", bound=nn.Module)
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Compute:
    """A prepared device. Create it with :meth:`prepare`.

    ``scaler`` scales the loss in fp16, because gradients leave the range of fp16. In the other
    precisions it does nothing.
    """

    device: torch.device
    threads: int
    precision: str
    scaler: torch.amp.GradScaler

    @classmethod
    def prepare(
        cls,
        device: str,
        threads: int,
        precision: str,
        local_rank: int = 0,
        slurm_task: bool = False,
    ) -> "Compute":
        """Check the device and set threads and kernels for it.

        On CUDA: TF32 for what stays fp32, and cuDNN chooses its algorithms by measurement.

        Args:
            device: cuda or cpu.
            threads: CPU threads of this process.
            precision: One of ``PRECISIONS``.
            local_rank: Number of this process on its machine, from 0. It selects the GPU among
                those visible to the process.
            slurm_task: Whether srun has started this process.

        Raises:
            UserError: an unknown device or precision, cuda without a GPU or with a torch for CPUs,
                or bf16 on a GPU that does not support it.
        """
        require_device(device)
        require(
            precision in PRECISIONS,
            f"precision is {precision!r}; allowed are {', '.join(PRECISIONS)}.",
        )
        torch.set_num_threads(threads)
        where = torch.device(device)
        if device == "cuda":
            visible = torch.cuda.device_count()
            where = torch.device("cuda", gpu_number(local_rank, visible, slurm_task))
            torch.cuda.set_device(where)
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            require_bf16(precision, has_bf16, torch.cuda.get_device_name())
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True
            torch.cuda.reset_peak_memory_stats()
        scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
        return cls(where, threads, precision, scaler)

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def place(self, module: Module) -> Module:
        """Move a module to the device; on CUDA with channels-last weights (slower on CPUs)."""
        module = module.to(self.device)
        if self.cuda:
            use_channels_last(module)
        return module

    def place_frozen(self, module: Module) -> Module:
        """As :meth:`place`, for a network that is not trained and runs under :meth:`autocast`."""
        return self.store_reduced(self.place(module))

    def store_reduced(self, module: Module) -> Module:
        """On CUDA keep the weights of convolutions and linear layers in the type of autocast.

        Autocast would cast them at every call: the results are the same, at half the memory.
        Other parameters, such as those of normalisations, stay in float32.
        """
        if self.cuda and self.precision != "fp32":
            reduce_weights(module, self.autocast_type)
        return module

    def move(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor to the device, without waiting where its memory is pinned.

        On CUDA a batch of volumes (B, C, X, Y, Z) becomes channels-last.
        """
        tensor = tensor.to(self.device, non_blocking=True)
        if self.cuda and tensor.ndim == 5:
            tensor = tensor.contiguous(memory_format=torch.channels_last_3d)
        return tensor

    def autocast(self) -> AbstractContextManager:
        """Context of autocast to bf16 or fp16; for fp32 it does nothing."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_type)

    def autocast_on_gpu(self) -> AbstractContextManager:
        """As :meth:`autocast` on a GPU; on a CPU it does nothing."""
        return self.autocast() if self.cuda else nullcontext()

    @property
    def autocast_type(self) -> torch.dtype:
        """Type that autocast computes in."""
        types = {"bf16": torch.bfloat16, "fp16": torch.float16}
        return types.get(self.precision, torch.float32)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss; in fp16 the loss is scaled."""
        self.scaler.scale(loss).backward()

    def peak_memory_mib(self) -> float:
        """Peak memory so far in MiB: allocated on the GPU, or the resident set of the process."""
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def describe(self) -> dict[str, str | int]:
        """Description of the machine for a model's card."""
        name = torch.cuda.get_device_name() if self.cuda else platform.processor()
        return {
            "device": self.device.type,
            "device_name": name or platform.machine(),
            "threads": self.threads,
            "precision": self.precision,
        }


def gpu_number(local_rank: int, visible: int, slurm_task: bool) -> int:
    """Index of the GPU that a process uses: no other process of the machine uses the same.

    Slurm may show each of its tasks a single GPU, its own. With other launchers a single GPU for
    several processes is a mistake.

    Args:
        local_rank: Number of the process on its machine, from 0.
        visible: Number of GPUs that the process sees.
        slurm_task: Whether srun has started the process.

    Raises:
        UserError: no GPU is left for the process.
    """
    if slurm_task and visible == 1:
        return 0
    require(
        local_rank < visible,
        f"This is process {local_rank} of its machine, counted from 0, but it sees {visible} "
        "GPU(s). Ask the scheduler for one GPU a process, or lower the stage's key processes.",
    )
    return local_rank


def require_device(device: str) -> None:
    """Raise :class:`UserError` for an unknown device, or cuda where this process has no GPU."""
    require(device in ("cuda", "cpu"), f"device is {device!r}; allowed are cuda, cpu.")
    if device == "cuda":
        require_gpu_build()
    require(
        device == "cpu" or torch.cuda.is_available(),
        "device: cuda is asked for, but this process sees no GPU. Ask the scheduler for one "
        "(in a container: --nv), or set device: cpu.",
    )


def require_gpu_build() -> None:
    """Raise :class:`UserError` if the installed torch is a build for CPUs."""
    require(
        torch.backends.cuda.is_built(),
        f"device: cuda is asked for, but the torch {torch.__version__} installed here is a build "
        "for CPUs. Install the build with CUDA (`make env TORCH=cuda`, docs/install.md), or set "
        "device: cpu.",
    )


def require_bf16(precision: str, supported: bool, gpu: str) -> None:
    """Raise :class:`UserError` for bf16 on a GPU that only emulates it."""
    require(
        supported or precision != "bf16",
        f"precision is bf16, which the GPU ({gpu}) does not support. Set precision: fp16, or fp32, "
        "in the sections of the trainings.",
    )


def use_channels_last(module: nn.Module) -> None:
    """Lay out the weights of 2-D and 3-D convolutions channels last, in place.

    ``Module.to(memory_format=...)`` fails for a network that has both.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in module.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])


def reduce_weights(module: nn.Module, dtype: torch.dtype) -> None:
    """Convert the weights and biases of all convolutions and linear layers, in place."""
    for layer in module.modules():
        if isinstance(layer, AUTOCAST_LAYERS):
            for parameter in layer.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    packages = {name: version(name) for name in ("torch", "monai", "numpy", "timm")}
    return {"python": platform.python_version(), **packages}


def detached(state: dict[str, torch.Tensor]) -> Tensors:
    """Copy of a state dict on the CPU; further training does not change it."""
    return {key: value.detach().cpu().clone() for key, value in state.items()}
