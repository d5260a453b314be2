"""Model of the GPU memory that a computation needs, on tensors without content: none is computed.

The tensors are fake ones on the CPU, and the types of results are those of CUDA's autocast: where
it computes in float32 (normalisations, resampling, softmax), so does the model. Counted are
tensors that are alive at once. Workspaces of kernels, the context of CUDA and fragmentation are
not: for them :data:`RESERVE` is kept free.
"""

import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ldae.nets.normalisation import cpu_as_gpu

RESERVE = 0.1  # fraction of a GPU's memory left to what is not counted
GIB = 2**30
# Operators that CUDA's autocast computes in float32 and the CPU's does not, of those that the
# networks call (torch's ATen/autocast_mode.h).
FLOAT32_ON_CUDA = (
    "group_norm",
    "layer_norm",
    "softmax.int",
    "upsample_nearest3d",
    "upsample_bilinear2d",
    "upsample_trilinear3d",
)
Net = TypeVar("Net", bound=nn.Module)


class Gpu(NamedTuple):
    """A GPU and the bytes that tensors may take on it."""

    name: str
    bytes: int

    @property
    def described(self) -> str:
        """Name and limit, for a log."""
        return f"{self.name}, of which {self.bytes / GIB:.1f} GiB may be used"


def visible_gpu(index: int = 0) -> Gpu:
    """The GPU that this process uses, all but :data:`RESERVE` of its memory."""
    properties = torch.cuda.get_device_properties(index)
    return Gpu(properties.name, int((1 - RESERVE) * properties.total_memory))


@contextmanager
def cuda_autocast() -> Iterator[None]:
    """Within the context autocast on the CPU gives results of the types that CUDA's gives.

    Dropout keeps a mask of one byte an element, as on CUDA, and not one of the type of its input.
    Normalisations of 3-D networks are those of a GPU (:mod:`ldae.nets.normalisation`).
    """

    def in_float32(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def kernel(*args: Any, **kwargs: Any) -> Tensor:
            args, kwargs = tree_map_only(Tensor, _as_float32, (args, kwargs))
            with torch.autocast("cpu", enabled=False):
                return operator(*args, **kwargs)

        return kernel

    def dropout(x: Tensor, p: float, train: bool) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return torch.native_dropout(x, p, train)[0] if train and p else x

    with torch.library._scoped_library("aten", "IMPL") as library, cpu_as_gpu():
        for name in FLOAT32_ON_CUDA:
            operator = attrgetter(name)(torch.ops.aten)
            library.impl(name, in_float32(operator), "AutocastCPU")
        library.impl("dropout", dropout, "AutocastCPU")
        yield


def _as_float32(x: Tensor) -> Tensor:
    return x.float() if x.is_floating_point() else x


class PeakBytes(TorchDispatchMode):
    """Peak bytes of tensors made within the context and alive at once.

    Memory inside of kernels and the allocator's rounding are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._note, out)
        return out

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._alive:
            self._alive.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def without_content() -> FakeTensorMode:
    """Context in which tensors have shape and type, but no content, and nothing is computed."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def build_hollow(build: Callable[[], Net], device: str = "cpu") -> Net:
    """A network with small random weights, also of fake tensors, which some builders reject.

    It is built on the meta device without initialisation; its tensors are assigned afterwards.
    """
    with unset_fake_temporarily(), torch.device("meta"):
        net = build().train()
    return _filled(net, device)


def hollow_copy(net: Net) -> Net:
    """Copy of a network, on any device, with tensors made in the current mode on the CPU."""
    own = {id(each): each for each in (*net.parameters(), *net.buffers())}  # not copied
    return _filled(deepcopy(net, own), "cpu")


def _filled(net: Net, device: str) -> Net:
    """The network with its tensors replaced by new ones."""
    for module in net.modules():
        if hasattr(module, "skip_empty_slices"):
            module.skip_empty_slices = False  # no slice may be empty
        for name, value in list(module.named_parameters(recurse=False)):
            random = 0.02 * torch.randn(value.shape, device=device)
            filled = nn.Parameter(random.to(value.dtype))
            module.register_parameter(name, filled.requires_grad_(value.requires_grad))
        for name, value in list(module.named_buffers(recurse=False)):
            zeros = torch.zeros(value.shape, dtype=value.dtype, device=device)
            module.register_buffer(name, zeros, persistent=False)
    return net


def weight_bytes(nets: Iterable[nn.Module]) -> int:
    """Bytes of the parameters; those that networks share are counted once."""
    weights = {id(p): p.numel() * p.element_size() for net in nets for p in net.parameters()}
    return sum(weights.values())


def peak_bytes(calls: Iterable[Callable[[], Any]]) -> int:
    """Largest of the peaks of calls on fake tensors, beside what was there before."""
    peaks = [0]
    for call in calls:
        with cuda_autocast(), PeakBytes() as memory:
            call()
        peaks.append(memory.peak)
    return max(peaks)


def powers_of_two(number: int) -> list[int]:
    """The powers of two that divide ``number``, ascending: 12 gives 1, 2, 4."""
    return [2**power for power in range(number.bit_length()) if number % 2**power == 0]


def largest_fit(sizes: Sequence[int], needed: Callable[[int], int], limit: int) -> int | None:
    """The largest of ascending ``sizes`` whose ``needed`` bytes are within ``limit``; or None."""
    count = bisect_right(sizes, limit, key=needed)
    return sizes[count - 1] if count else None
