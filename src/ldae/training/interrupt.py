"""Stopping on a scheduler's signal or Ctrl-C: finish the step, save, leave with exit code 75."""

import signal
from types import FrameType, TracebackType

EXIT_CODE = 75  # EX_TEMPFAIL: nothing is wrong, run the same command again


class Interrupted(SystemExit):
    """Training stopped on a signal after saving; not caught, it exits with code 75."""

    def __init__(self, message: str):
        super().__init__(EXIT_CODE)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Interrupts:
    """Within the context SIGTERM, SIGUSR1 and SIGINT are noted instead of ending the process."""

    signals = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self) -> None:
        self.received: str | None = None
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

    def check(self) -> None:
        """Raise :class:`Interrupted` when a signal has come."""
        if self.received:
            raise Interrupted(f"stopped by {self.received}; the same command continues")


def ignore_in_worker(_: int) -> None:
    """For loader processes: a signal to the whole job must not kill the data under a last step."""
    for number in Interrupts.signals:
        signal.signal(number, signal.SIG_IGN)
