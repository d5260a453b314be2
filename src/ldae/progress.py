"""Progress lines for log files: step/total, rate and time left; no progress bars."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent() -> Iterator[None]:
    """No progress lines meanwhile, such as those of the steps within one of many scans."""
    log = logging.getLogger("ldae.progress")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


class Progress:
    """Log ``name 120/600  3.1/s  ETA 0:02:34  loss=0.12`` at most every ``interval`` seconds.

    Args:
        name: Name of what is counted.
        total: Number of all steps.
        start: Steps done before this process (a resumed run); they do not count in the rate.
        interval: Seconds between lines; the last step is always logged.
    """

    def __init__(self, name: str, total: int, start: int = 0, interval: float = 10.0):
        self.name, self.total, self.start, self.interval = name, total, start, interval
        self._began = time.monotonic()
        self._logged = self._began
        self._log = logging.getLogger("ldae.progress")

    def step(self, done: int, **values: float) -> None:
        """Report that ``done`` steps of the total are finished."""
        now = time.monotonic()
        if now - self._logged < self.interval and done < self.total:
            return
        self._logged = now
        rate = (done - self.start) / max(now - self._began, 1e-9)
        left = round((self.total - done) / rate) if rate > 0 else 0
        eta = f"{left // 3600}:{left % 3600 // 60:02d}:{left % 60:02d}"
        shown = "  ".join(f"{key}={value:.4g}" for key, value in values.items())
        self._log.info(
            "%s %d/%d  %.2f/s  ETA %s  %s", self.name, done, self.total, rate, eta, shown
        )
