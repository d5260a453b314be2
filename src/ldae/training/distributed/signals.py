"""Interruption by a scheduler's signal or Ctrl-C: finish the step, save, exit with code 75.

The approaching time limit of a Slurm job counts as a signal: not every site sends one in time.
"""

import math
import os
import signal
import time
from collections.abc import Mapping
from types import FrameType, TracebackType

from ldae.training.distributed.slurm import allocation

EXIT_CODE = 75  # EX_TEMPFAIL: nothing is wrong, run the same command again
MARGIN = 180.0  # seconds before a Slurm job's time limit, but at most a quarter of what is left


class Interrupted(SystemExit):
    """Training stopped by a signal after saving; if not caught, the process exits with code 75."""

    def __init__(self, message: str):
        super().__init__(EXIT_CODE)
        self.message = message

    def __str__(self) -> str:
        return self.message


def deadline(environment: Mapping[str, str]) -> float:
    """When to stop, in seconds since 1970: shortly before a Slurm job's time limit, else inf."""
    now = time.time()
    if "SLURM_JOB_END_TIME" in environment:
        left = float(environment["SLURM_JOB_END_TIME"]) - now
    else:
        job = allocation(environment)
        left = job.left if job else math.inf
    return now + left - min(MARGIN, max(0.0, left) / 4)


class Interrupts:
    """Within the context SIGTERM, SIGUSR1 and SIGINT are recorded instead of ending the process."""

    signals = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self) -> None:
        self.received: str | None = None
        self.deadline = deadline(os.environ)
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupts":
        for number in self.signals:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name

    def requested(self) -> bool:
        """Whether this process has received a signal, or its deadline has passed."""
        if self.received is None and time.time() > self.deadline:
            self.received = "the end of the job's time"
        return self.received is not None

    def check(self) -> None:
        """Raise :class:`Interrupted` if :meth:`requested`."""
        if self.requested():
            self.leave()

    def leave(self) -> None:
        """Raise :class:`Interrupted`, as one of the processes has received a signal."""
        source = self.received or "a signal to another process"
        raise Interrupted(f"stopped by {source}; the same command continues")


def ignore_in_worker(_: int) -> None:
    """Ignore signals in a loader process: the last step before saving still needs its data."""
    for number in Interrupts.signals:
        signal.signal(number, signal.SIG_IGN)
