"""Process group: several processes that train one model together, one device each.

Every process holds the whole model and computes its part of each effective batch. Gradients are
summed once an optimizer step, so all replicas take the same step and stay equal bit for bit. Only
the first process validates, writes and logs progress; the others wait for it.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from ldae.errors import UserError, require
from ldae.training.distributed.signals import Interrupted

# For all to start and connect. A process that never starts should not cost hours.
MEETING = timedelta(minutes=10)
# The others wait while the first validates and writes. A process that dies ends its job at once.
PATIENCE = timedelta(hours=12)
PORTS = range(20000, 32000)  # below those that systems use for outgoing connections


@dataclass(frozen=True)
class Processes:
    """This process among those that train together. The default is a process on its own.

    Args:
        rank: Number of this process, 0 .. size-1.
        size: Number of processes.
        local_rank: Number of this process on its machine, and of the GPU that it takes.
        launcher: Number of the process that started this one, and with which it has to end; None:
            there is none.
        slurm_task: Whether srun started this one.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launcher: int | None = None
    slurm_task: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that validates, writes and logs."""
        return self.rank == 0

    @property
    def orphaned(self) -> bool:
        """Whether the launcher was killed: nothing waits for this process any more."""
        return self.launcher is not None and os.getppid() != self.launcher

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, with one all-reduce for each dtype."""
        if self.size == 1:
            return
        for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            dist.all_reduce(flat)
            pieces = flat.split([tensor.numel() for tensor in alike])
            for tensor, piece in zip(alike, pieces, strict=True):
                tensor.copy_(piece.view(tensor.shape))

    def broadcast_from_first(self, value: int, device: torch.device) -> int:
        """Return the first process's ``value`` in all processes."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.int64, device=device)
        dist.broadcast(shared, src=0)
        return int(shared.item())

    def barrier(self, device: torch.device) -> None:
        """Wait until all processes have called this."""
        self.sum([torch.zeros(1, device=device)])
        if device.type == "cuda" and self.size > 1:
            torch.cuda.synchronize(device)


def processes_from_environment(
    environment: Mapping[str, str], slurm_task: bool, launcher: int | None = None
) -> Processes | None:
    """Read from the environment which process this is; None if it was not started as one of many.

    Args:
        environment: ``os.environ``. RANK, WORLD_SIZE and LOCAL_RANK are set by the launcher or by
            torchrun.
        slurm_task: Read SLURM_PROCID, SLURM_NTASKS and SLURM_LOCALID instead. This is not guessed:
            a batch script has these variables too, without being one task of many.
        launcher: See :class:`Processes`.

    Raises:
        UserError: ``slurm_task`` in a process that srun has not started.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if slurm_task:
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    if not all(name in environment for name in names):
        require(not slurm_task, "--slurm-task is for processes that srun has started.")
        return None
    rank, size, local_rank = (int(environment[name]) for name in names)
    return Processes(rank, size, local_rank, launcher, slurm_task)


def rendezvous_address(environment: Mapping[str, str]) -> tuple[str, int]:
    """Host and port where the tasks of srun meet; the host is the first node of the step.

    The port is computed from the numbers of job and step: simultaneous steps get different ones.

    Args:
        environment: ``os.environ`` of a task. Node lists look like ``a,b``, ``gpu[03-05,9],b``.
    """
    nodes = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_NODELIST"]
    host = re.sub(r"\[(\d+)[^]]*]", r"\1", nodes).split(",")[0]
    if environment.get("SLURM_STEP_NUM_NODES") == "1":
        host = "127.0.0.1"  # needs no name resolution
    job, step = int(environment["SLURM_JOB_ID"]), int(environment.get("SLURM_STEP_ID", "0"))
    return host, PORTS[(job + 4099 * step) % len(PORTS)]


@contextmanager
def process_group(
    processes: Processes, device: str, expected: int, meeting: timedelta = MEETING
) -> Iterator[None]:
    """Within the context the processes can communicate: by NCCL between GPUs, gloo between CPUs.

    They meet at MASTER_ADDR and MASTER_PORT; tasks of srun by default at
    :func:`rendezvous_address`. The group is closed at the regular end and at an interruption, which
    all processes reach together. After an error in one, the others may be in the middle of a
    collective operation. Then nothing is closed, and the process has to end by itself.

    Args:
        processes: This process among the others.
        device: cuda or cpu.
        expected: Number of processes by the settings.
        meeting: Time for all to connect.

    Raises:
        UserError: the number of processes is not ``expected``, or not all have connected within
            ``meeting``.
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
        host, port = rendezvous_address(environment)
        environment |= {"MASTER_ADDR": host, "MASTER_PORT": str(port)}
    try:
        store, _, _ = next(rendezvous("env://", processes.rank, processes.size, timeout=meeting))
    except dist.DistError as error:
        place = f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
        raise UserError(
            f"Process {processes.rank} of {processes.size} has not met all others at {place} in "
            f"{meeting.total_seconds():.0f} s ({str(error).splitlines()[0]}). Check in the log "
            "whether one of them failed, and check that the nodes can reach this address. "
            "MASTER_ADDR and MASTER_PORT set another one."
        ) from error
    store.set_timeout(PATIENCE)
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        store=store,
        rank=processes.rank,
        world_size=processes.size,
        timeout=PATIENCE,
    )
    try:
        yield
    except Interrupted:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()
