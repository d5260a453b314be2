"""Several processes that train one model together, one device each.

Every process holds the whole model and computes its share of each effective batch; gradients are
summed once an optimizer step, so that all replicas take the same step and stay equal bit for bit.
The first process alone validates, writes and logs progress; the others wait for it.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from ldae.errors import require

# The first process validates and writes meanwhile; a process that died ends its job at once.
PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """This process among its like. The default is a process on its own.

    Args:
        rank: Number of this process, 0 .. size-1.
        size: How many there are.
        local_rank: Number of this process on its machine: which GPU it takes.
        launcher: Process that started this one and whose end must be its end; None: none.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launcher: int | None = None

    @property
    def first(self) -> bool:
        """Whether this one validates, writes and logs."""
        return self.rank == 0

    @property
    def orphaned(self) -> bool:
        """Whether the launcher was killed, so that nobody waits for this process any more."""
        return self.launcher is not None and os.getppid() != self.launcher

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes: one message for each dtype."""
        if self.size == 1:
            return
        for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            dist.all_reduce(flat)
            pieces = flat.split([tensor.numel() for tensor in alike])
            for tensor, piece in zip(alike, pieces, strict=True):
                tensor.copy_(piece.view(tensor.shape))

    def of_first(self, value: int, device: torch.device) -> int:
        """The first process's ``value``, for all."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.int64, device=device)
        dist.broadcast(shared, src=0)
        return int(shared.item())


def placed(
    environment: Mapping[str, str], slurm_task: bool, launcher: int | None = None
) -> Processes | None:
    """What the environment says this process is; None when nobody has started it as one of many.

    Args:
        environment: ``os.environ``. RANK, WORLD_SIZE and LOCAL_RANK are the launcher's or
            torchrun's.
        slurm_task: Read SLURM_PROCID, SLURM_NTASKS and SLURM_LOCALID instead. Not guessed: a batch
            script has these variables too, without being one task of many.
        launcher: See :class:`Processes`.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if slurm_task:
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    if not all(name in environment for name in names):
        require(not slurm_task, "--slurm-task is for processes that srun has started.")
        return None
    rank, size, local_rank = (int(environment[name]) for name in names)
    return Processes(rank, size, local_rank, launcher)


@contextmanager
def joined(processes: Processes, device: str, expected: int) -> Iterator[None]:
    """Within the context the processes can talk: NCCL between GPUs, gloo between CPUs.

    Meeting point: MASTER_ADDR and MASTER_PORT; under srun by default the node it was called on and
    a port made of the job's number.

    Raises:
        UserError: the number of processes is not the one of the settings.
    """
    require(
        processes.size == expected,
        f"The training is to run in {expected} process(es) (key processes), but {processes.size} "
        "were started. Start as many as the settings say.",
    )
    if processes.size == 1:
        yield
        return
    environment = os.environ
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = environment["SLURM_LAUNCH_NODE_IPADDR"]
        environment["MASTER_PORT"] = str(20000 + int(environment["SLURM_JOB_ID"]) % 20000)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(
        backend, rank=processes.rank, world_size=processes.size, timeout=PATIENCE
    )
    try:
        yield
    finally:
        dist.destroy_process_group()
