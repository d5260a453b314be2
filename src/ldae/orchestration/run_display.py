"""Display of a run: a line for each stage, with what it took and when all will be done.

On a terminal the last line is redrawn and says what runs now. Elsewhere there is a line when a
stage begins and one when it ends. What Snakemake logs, and what jobs print, goes to its log file.
"""

import shlex
import sys
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ldae.labels import count
from ldae.orchestration.job_failure import failure_reason
from ldae.orchestration.run_progress import Job, RunProgress, Stage
from ldae.orchestration.run_times import Times, read_times
from ldae.orchestration.terminal import Terminal

REDRAW = 1.0  # seconds
WIDTH = 34  # of the titles
AGAIN = "run the same command again: it goes on where it stopped."
NOT_DONE = "At least one job did not complete successfully."  # Snakemake's last words
LOCKED = "cannot be locked"  # in what Snakemake says of a lock that another run holds, or left
INTERRUPTED = "Signals.SIGINT"  # in what Snakemake says of a job that Ctrl-C ended


class RunDisplay:
    """Lines about a run, told of its events.

    Args:
        table: Recorded times (:func:`ldae.orchestration.run_times.read_times`); None for none.
        terminal: Where to write.
    """

    def __init__(self, table: str | Path | None, terminal: Terminal):
        self.terminal = terminal
        self.progress = RunProgress(Times(recorded=read_times(table) if table else {}))
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._shown: set[str] = set()  # titles of the stages that have begun
        self._ended: set[str] = set()
        self._failed: dict[int, str] = {}  # job -> its description
        self._said: list[str] = []  # of jobs that failed, until it is told which
        self._other_errors = False  # whether there were errors of no job
        self._locked = False  # whether one of them was a lock
        self.planned = self._stopped = False
        if terminal.live:
            threading.Thread(target=self._redraw, daemon=True).start()

    def begin(self, log: str | None) -> None:
        """Snakemake has begun; ``log``: its log file, None if it writes none."""
        if log:
            self.terminal.divert(log)
            self._write(f"Snakemake's log: {log}")
        self._draw("Finding out what has to be done ...")

    def leave_out(self, rules: Collection[str]) -> None:
        """Take the names of the rules that have no benchmark; their jobs count as short ones."""
        with self._lock:
            self.progress.times.unrecorded = frozenset(rules)

    def plan(self, jobs: Mapping[str, int], dry: bool = False) -> None:
        """Take the number of jobs by rule; of a dry run, list them."""
        with self._lock:
            progress = self.progress
            progress.plan(jobs)
            shown = [stage for stage in progress.stages.values() if stage.title]
            self.planned = True
            what = f"{count(progress.jobs, 'job')} in {count(len(shown), 'stage')}"
            if dry:
                self._write(f"{what}:")
                for stage in shown:
                    self._write(f"  {stage.title:<{WIDTH}}{count(stage.jobs, 'job'):>9}")
                return
            unit = "core" if progress.shared else "job"
            self._write(f"{what}, {count(progress.cores, unit)} at a time. {self._left()}")

    def start(self, number: int, job: Job, benchmark: str | None) -> None:
        """A job has begun, for the first time or again."""
        with self._lock:
            again = self._failed.pop(number, None)
            stage = self.progress.start(number, job, benchmark)
            if again:
                self._write(f"{_now()}  {again} is tried again.")
            first = stage.title and stage.title not in self._shown
            self._shown.add(stage.title)
            if first and not self.terminal.live:
                self._write(f"{_now()}  {stage.title:<{WIDTH}}    ...  {job.what}")
            self._draw(self._status())

    def finish(self, number: int) -> None:
        """A job has finished."""
        with self._lock:
            stage = self.progress.finish(number)
            if stage and stage.title and stage.finished:
                self._end(stage)
            self._draw(self._status())

    def fail(self, number: int, rule: str, logs: Iterable[str], said: str = "") -> None:
        """A job has failed; ``said``: what else is known of the reason."""
        with self._lock:
            told = self._said.pop(0) if self._said else said
            self._stopped |= INTERRUPTED in told
            job = self.progress.running.get(number)
            if job:
                self.progress.end(number)
            if self._stopped:
                return
            wildcards = ", ".join(f"{k} {v}" for k, v in (job.wildcards if job else {}).items())
            name = f"rule {rule}" + (f", {wildcards}" if wildcards else "")
            self._failed[number] = name
            self._write(f"{_now()}  FAILED: {name}")
            for line in failure_reason(logs, told).removeprefix(f"{rule}: ").splitlines():
                self._write(f"    {line}")
            for path in logs:
                self._write(f"    Its log: {Path(path).resolve()}")

    def report_error(self, text: str, of_job: bool) -> None:
        """Snakemake reports an error, of a job that is told of next (``fail``) or of the run."""
        with self._lock:
            if of_job:
                self._said.append(text)
            elif NOT_DONE not in text:
                self._other_errors = True
                self._locked |= LOCKED in text
                self._write(text)

    def stop(self) -> None:
        """The user ends the run."""
        with self._lock:
            self._stopped = True
            self._draw("Ending the jobs that run ...")

    def say(self, text: str) -> None:
        """Write a line as it is."""
        with self._lock:
            self._write(text)

    def close(self) -> None:
        """The run is over: say how it ended, and give the terminal back."""
        if self._over.is_set():
            return
        self._over.set()
        with self._lock:
            for line in self._last_words():
                self._write(line)
            self.terminal.close()

    def _last_words(self) -> list[str]:
        progress = self.progress
        spent = _clock(progress.clock() - progress.began)
        done = f"{progress.done} of {progress.jobs} jobs done"
        if self._stopped and not self.planned:
            return ["Stopped before any job began."]
        if self._stopped:
            return [f"Stopped after {spent}: {done}; these stay so. To go on, {AGAIN}"]
        if self._failed or self._other_errors or self._said:
            names = f": {'; '.join(self._failed.values())}" if self._failed else ""
            how = f"after {spent}{names}. {done}." if self.planned else "before any job began."
            return [*self._said, f"Failed {how}", *self._remedy()]
        if not self.planned:
            return []
        for stage in progress.stages.values():  # jobs that turned out to be unnecessary
            if stage.title in self._shown - self._ended and stage.title and not stage.running:
                self._end(stage)
        return [f"All done in {spent}."] if not progress.running and progress.done else []

    def _remedy(self) -> list[str]:
        if not self._locked:
            return [f"Mend it, then {AGAIN}"]
        called, *options = sys.argv
        module = Path(called).name == "__main__.py"  # python -m snakemake
        program = [sys.executable, "-m", "snakemake"] if module else [called]
        return [
            "If no other run is going on here, a kill -9 or a power cut has left the lock. Take it "
            "away by",
            f"    {shlex.join([*program, '--unlock', *options])}",
            f"then {AGAIN}",
        ]

    def _end(self, stage: Stage) -> None:
        self._ended.add(stage.title)
        spent = _clock(stage.seconds(self.progress.clock()))
        stages = self.progress.stages.values()
        last = all(one.finished for one in stages if one.title)
        left = "" if last or self._failed else self._left()
        self._write(f"{_now()}  {stage.title:<{WIDTH}}{spent:>7}  {left}".rstrip())

    def _left(self) -> str:
        """When all will be done, as far as that can be told."""
        left = self.progress.left(afresh=True)
        if left is not None:
            return _until(left)
        rules = self.progress.untimed()
        some = ", ".join(rules[:3]) + (f" and {len(rules) - 3} more" if len(rules) > 3 else "")
        return f"Time left: unknown before a job of {some} has ended."

    def _status(self) -> str:
        """What runs now, for the line that is redrawn."""
        progress, now = self.progress, self.progress.clock()
        parts = []
        for stage in progress.stages.values():
            if stage.running and stage.title:
                jobs = f" ({stage.done + stage.running}/{stage.jobs})" if stage.jobs > 1 else ""
                parts.append(f"{stage.title}{jobs} {_clock(stage.seconds(now))}")
        left = None if self._failed else progress.left()
        known = f"{_until(left)} " if left is not None else ""
        return f"{_now()}  {', '.join(parts) or '...'}.  {known}[{progress.done}/{progress.jobs}]"

    def _write(self, text: str) -> None:
        self.terminal.write(text)

    def _draw(self, text: str) -> None:
        if not self._over.is_set():
            self.terminal.draw(text)

    def _redraw(self) -> None:
        while not self._over.wait(REDRAW):
            with self._lock:
                if self.planned and not self._stopped:
                    self._draw(self._status())


def _now() -> str:
    return time.strftime("%H:%M")


def _clock(seconds: float) -> str:
    """Seconds as ``0:58``, ``12:05`` or ``1:02:03``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60:02d}" if hours else f"{rest // 60}"
    return f"{hours}:" * bool(hours) + f"{minutes}:{rest % 60:02d}"


def _until(left: float) -> str:
    """Remaining seconds in words, and the time of day at which they are over."""
    minutes = round(left / 60)
    if minutes < 1:
        return "All done in less than a minute."
    hours = f"{minutes // 60} h {minutes % 60:02d} min"
    day = "%H:%M" if left < 12 * 3600 else "%a %d %b, %H:%M"
    at = time.strftime(day, time.localtime(time.time() + left))
    return f"All done in about {hours if minutes >= 60 else f'{minutes} min'}, at {at}."
