"""Stopping on a scheduler's signal or Ctrl-C: finish the step, save, leave with exit code 75.

The end of a Slurm job's time counts as a signal as well: not every site sends one in time.
"""

import math
import os
import signal
import time
from collections.abc import Mapping
from types import FrameType, TracebackType

from ldae.training.distributed.slurm import allocation

EXIT_CODE = 75  # EX_TEMPFAIL: nothing is wrong, run the same command again
MARGIN = 180.0  # seconds before the end of a Slurm job's time, of a short job a quarter of it


class Interrupted(SystemExit):
    """Training stopped on a signal after saving; not caught, it exits with code 75."""

    def __init__(self, message: str):
        super().__init__(EXIT_CODE)
        self.message = message

    def __str__(self) -> str:
        return self.message


def deadline(environment: Mapping[str, str]) -> float:
    """When to leave, seconds since the epoch: shortly before a Slurm job's end, else never."""
    now = time.time()
    if "SLURM_JOB_END_TIME" in environment:
        left = float(environment["SLURM_JOB_END_TIME"]) - now
    else:
        job = allocation(environment)
        left = job.left if job else math.inf
    return now + left - min(MARGIN, max(0.0, left) / 4)


class Interrupts:
    """Within the context SIGTERM, SIGUSR1 and SIGINT are noted instead of ending the process."""

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
        """Whether a signal has come to this process, or its time is up."""
        if self.received is None and time.time() > self.deadline:
            self.received = "the end of the job's time"
        return self.received is not None

    def check(self) -> None:
        """Raise :class:`Interrupted` if :meth:`requested`."""
        if self.requested():
            self.leave()

    def leave(self) -> None:
        """Raise :class:`Interrupted`: a signal has come to one of the processes."""
        source = self.received or "a signal to another process"
        raise Interrupted(f"stopped by {source}; the same command continues")


def ignore_in_worker(_: int) -> None:
    """For loader processes: a signal to the whole job must not kill the data under a last step."""
    for number in Interrupts.signals:
        signal.signal(number, signal.SIG_IGN)
