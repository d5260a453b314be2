"""Progress of a run: its jobs and stages, from the first to the last, and the time that is left."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ldae.orchestration.run_forecast import Work, remaining_seconds
from ldae.orchestration.run_stages import in_order, stage_of
from ldae.orchestration.run_times import Times, earlier_times

BENCHMARKS = "benchmarks"  # folder of Snakemake's benchmarks, below that of the results
OVERTIME = 0.1  # a job that takes longer than expected will take so much of its time again
RETHINK = 5.0  # seconds between two forecasts, where no stage has ended


@dataclass(frozen=True)
class Job:
    """A job that has begun.

    Attributes:
        rule: Its rule.
        what: What it does, in words.
        threads: That it occupies.
        logs: Its log files.
        wildcards: Its wildcards.
        began: Unix time, seconds.
    """

    rule: str
    what: str
    threads: int
    logs: tuple[str, ...]
    wildcards: Mapping[str, str]
    began: float


@dataclass
class Stage:
    """Jobs of one stage.

    Attributes:
        title: Its name.
        jobs: Number of its jobs in this run.
        done: How many of them have finished.
        running: How many run.
        spent: Seconds in which at least one of its jobs ran, up to ``since``.
        since: Unix time from when on jobs of it have been running; None: none runs.
    """

    title: str
    jobs: int = 0
    done: int = 0
    running: int = 0
    spent: float = 0.0
    since: float | None = None

    @property
    def finished(self) -> bool:
        """Whether all of its jobs have finished."""
        return self.done >= self.jobs

    def seconds(self, now: float) -> float:
        """Seconds in which at least one of its jobs ran, up to now."""
        return self.spent + (now - self.since if self.since is not None else 0.0)

    def change(self, running: int, now: float) -> None:
        """Count jobs that begin (positive) or end (negative)."""
        self.spent, self.since = self.seconds(now), None
        self.running += running
        if self.running:
            self.since = now


class RunProgress:
    """Jobs of a run, told as they begin and end.

    Args:
        times: Expected times; those of this run are added.
        clock: Unix time, seconds.
    """

    def __init__(self, times: Times, clock: Callable[[], float] = time.time):
        self.times, self.clock = times, clock
        self.began = clock()
        self.cores = 1
        self.shared = True  # cores are threads of one machine; else jobs of a cluster
        self.waiting: Counter[str] = Counter()
        self.running: dict[int, Job] = {}
        self.stages: dict[str, Stage] = {}
        self._needs: dict[str, set[str]] = {}
        self._threads: dict[str, int] = {}
        self._sought = False  # whether times of earlier runs have been looked for
        self._forecast: tuple[float, float | None] | None = None

    @property
    def jobs(self) -> int:
        """Number of all jobs."""
        return sum(stage.jobs for stage in self.stages.values())

    @property
    def done(self) -> int:
        """Number of jobs that have finished."""
        return sum(stage.done for stage in self.stages.values())

    def plan(self, jobs: Mapping[str, int]) -> None:
        """Take the number of jobs by rule, in the order of the run."""
        self.waiting = Counter(jobs)
        self.stages = {title: Stage(title) for title in in_order({stage_of(rule) for rule in jobs})}
        for rule, count in jobs.items():
            self.stages[stage_of(rule)].jobs += count

    def order(self, links: Iterable[tuple[str, str]]) -> None:
        """Take the order of rules: pairs of a rule and one that needs it."""
        for before, after in links:
            self._needs.setdefault(after, set()).add(before)

    def start(self, number: int, job: Job, benchmark: str | None = None) -> Stage:
        """A job has begun; returns its stage."""
        if benchmark and not self._sought:
            self._sought = True
            self._find_earlier(Path(benchmark))
        if number in self.running:  # another attempt
            self.end(number)
        self.running[number] = job
        self.waiting[job.rule] = max(0, self.waiting[job.rule] - 1)
        self._threads[job.rule] = job.threads
        stage = self._stage(job.rule)
        stage.change(+1, self.clock())
        stage.jobs = max(stage.jobs, stage.done + stage.running)
        return stage

    def finish(self, number: int) -> Stage | None:
        """A job has finished; returns its stage, None if it has never begun (a mere target)."""
        if number not in self.running:
            return None
        job = self.end(number)
        self.times.add(job.rule, self.clock() - job.began)
        stage = self._stage(job.rule)
        stage.done += 1
        return stage

    def end(self, number: int) -> Job:
        """A job runs no longer, finished or not; returns it."""
        job = self.running.pop(number)
        self._stage(job.rule).change(-1, self.clock())
        return job

    def left(self, afresh: bool = False) -> float | None:
        """Seconds until all is done; None if there are rules of unknown time.

        Args:
            afresh: Forecast anew; else an earlier one, of at most ``RETHINK`` seconds ago, less the
                time since.
        """
        now = self.clock()
        if afresh or self._forecast is None or now - self._forecast[0] > RETHINK:
            self._forecast = (now, None if self.untimed() else self._seconds(now))
        made, seconds = self._forecast
        return None if seconds is None else max(0.0, seconds - (now - made))

    def untimed(self) -> list[str]:
        """Rules with jobs to do of which no time is known."""
        rules = [rule for rule, jobs in self.waiting.items() if jobs]
        rules += [job.rule for job in self.running.values()]
        return [rule for rule in dict.fromkeys(rules) if self.times.seconds(rule) is None]

    def _seconds(self, now: float) -> float:
        running = [
            Work(job.rule, self._rest(job, now), self._asked(job.rule))
            for job in self.running.values()
        ]
        waiting = [
            Work(rule, self.times.seconds(rule), self._asked(rule), jobs)
            for rule, jobs in self.waiting.items()
            if jobs
        ]
        return remaining_seconds(running, waiting, self._needs, self.cores)

    def _rest(self, job: Job, now: float) -> float:
        """Seconds that a running job will still take."""
        gone = now - job.began
        return max(self.times.seconds(job.rule) - gone, OVERTIME * gone)

    def _asked(self, rule: str) -> int:
        return (self._threads.get(rule) or self.times.threads(rule)) if self.shared else 1

    def _stage(self, rule: str) -> Stage:
        title = stage_of(rule)
        return self.stages.setdefault(title, Stage(title))

    def _find_earlier(self, benchmark: Path) -> None:
        """Read the times of earlier runs beside the benchmark of a job."""
        for folder in benchmark.parents:
            if folder.name == BENCHMARKS and folder.is_dir():
                self.times.earlier = earlier_times(folder)
