"""Launcher of the processes of one training, on this machine or by srun.

In a Slurm job ``srun`` starts them, also a single one. Where Slurm tracks processes by cgroups, its
signals reach the tasks of srun and not what these start, such as a rule's script. Elsewhere the
launcher starts them itself.

The launcher forwards signals to them, so that all save and stop together. It ends as they do: with
0, with 75 if they were interrupted and have saved (torchrun would make it 1), or with 1.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ldae.config import section_name
from ldae.errors import require
from ldae.training.distributed.signals import EXIT_CODE, Interrupted, Interrupts
from ldae.training.distributed.slurm import Allocation
from ldae.training.settings import Settings

POLL = 0.1  # seconds
log = logging.getLogger(__name__)


def launch(
    settings: Settings, log_file: str | Path | None = None, job: Allocation | None = None
) -> None:
    """Run a training in processes of its own to its end.

    Args:
        settings: Written to ``<run_dir>/settings.json``.
        log_file: File to which the processes append their log.
        job: Slurm job of this process; None: it is in none.

    Raises:
        Interrupted: the processes were stopped by a signal and have saved.
        SystemExit: with code 1; one of them failed and has logged why.
        UserError: too few GPUs, or nodes that cannot share the processes equally.
    """
    file = Path(settings.run_dir) / "settings.json"
    settings.write(file)
    command = [sys.executable, "-m", "ldae.training", str(file)]
    command += ["--log", str(log_file)] if log_file else []
    if job:
        srun = over_nodes(settings, command, job.nodes)
        started = [subprocess.Popen(srun, env=for_srun(os.environ))]
    else:
        started = on_this_machine(settings, command)
    with forwarded_signals(started) as passed:
        code = wait(started, passed)
    if code == EXIT_CODE:
        raise Interrupted("the processes of the training were interrupted and have saved")
    if code:
        log.error("%s: one of its %d processes failed", settings.stage, settings.processes)
        sys.exit(1)


def on_this_machine(settings: Settings, command: list[str]) -> list[subprocess.Popen]:
    """Start every process on this machine; they meet at a free port of it."""
    size = settings.processes
    if settings.device == "cuda":
        import torch  # takes seconds, and only this check needs it

        from ldae.compute import require_gpu_build

        require_gpu_build()
        require_gpus(settings, torch.cuda.device_count())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(max(1, settings.threads // size)),
    }
    log.info("%s: starting %d processes on this machine", settings.stage, size)
    return [
        subprocess.Popen(
            [*command, "--launcher", str(os.getpid())],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(size)
    ]


def require_gpus(settings: Settings, visible: int) -> None:
    """Raise :class:`UserError` unless there is a ``visible`` GPU for each process."""
    section = section_name(settings.stage)
    require(
        visible >= settings.processes,
        f"{section}.processes is {settings.processes}, one a GPU, but this job sees "
        f"{visible} GPU(s). Ask the scheduler for {settings.processes} (resources: gpu of the "
        f"profile), or lower {section}.processes.",
    )


def over_nodes(settings: Settings, command: list[str], nodes: int) -> list[str]:
    """Command of srun that starts equally many processes on each node of the Slurm job.

    They share the resources of the job. Each process takes the GPU of its local rank.

    Raises:
        UserError: the number of processes is not a multiple of ``nodes``.
    """
    size = settings.processes
    require(
        size % nodes == 0,
        f"{section_name(settings.stage)}.processes is {size}, which {nodes} nodes cannot share "
        "equally. Ask for another number of nodes.",
    )
    log.info("%s: starting %d process(es) on %d node(s) by srun", settings.stage, size, nodes)
    srun = ["srun", "--overlap", "--kill-on-bad-exit=1", "--cpu-bind=none", "--mem=0"]
    srun += [f"--nodes={nodes}", f"--ntasks={size}", f"--ntasks-per-node={size // nodes}"]
    srun += [f"--cpus-per-task={max(1, settings.threads // size)}"]
    return [*srun, *command, "--slurm-task"]


def for_srun(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the options that Slurm has set for the step of this process."""
    kept = ("SLURM_JOB_ID", "SLURM_CONF", "SLURM_TMPDIR")
    return {
        name: value
        for name, value in environment.items()
        if name in kept or not name.startswith(("SLURM_", "SRUN_"))
    }


@contextmanager
def forwarded_signals(started: list[subprocess.Popen]) -> Iterator[set[int]]:
    """Within the context, forward signals that interrupt a training to its processes.

    Yields:
        The signals forwarded so far.
    """
    passed: set[int] = set()

    def forward(number: int, frame: FrameType | None) -> None:
        number = signal.SIGTERM if number == signal.SIGINT else number  # srun asks back on SIGINT
        passed.add(number)
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in Interrupts.signals}
    try:
        yield passed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(started: list[subprocess.Popen], passed: set[int]) -> int:
    """Wait for all processes; if one fails, kill the others, which would wait for it in vain.

    A process that still starts handles no signals yet, so a forwarded one (``passed``) ends it. It
    has nothing to save and counts as interrupted.

    Returns:
        0, ``EXIT_CODE`` if any was interrupted, or 1 if one failed.
    """
    while True:
        codes = [process.poll() for process in started]
        early = any(code is not None and -code in passed for code in codes)
        failed = {rank: code for rank, code in enumerate(codes) if code not in (None, 0, EXIT_CODE)}
        if failed:
            log.warning("exit codes of failed processes (negative: number of a signal): %s", failed)
            for process in started:
                process.kill()
                process.wait()
            return EXIT_CODE if early else 1
        if None not in codes:
            return EXIT_CODE if EXIT_CODE in codes else 0
        time.sleep(POLL)
