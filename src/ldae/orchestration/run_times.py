"""Times of jobs: recorded by rule, corrected by the speed of this machine.

The seconds of a rule's jobs are known from this run, from an earlier run of the same results
folder, or from a recorded table (``profiles/demo/times.tsv``). Those of an earlier run are
multiplied by the pace of this run, and those of the table by the ratio of seconds measured here to
the table's.
"""

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ldae.errors import require

COLUMNS = ("rule", "jobs", "seconds", "threads")
FIGURES, REPORT = "figures", "report"  # as folders and files of benchmarks
UNTIMED = 1.0  # seconds of a job of a rule without benchmark, until one has ended in this run
# Seconds that the speed is 1 for, beside those measured: first jobs of a second do not decide.
TRUSTED = 10.0


@dataclass(frozen=True)
class Recorded:
    """Recorded time of a rule's jobs.

    Attributes:
        seconds: Mean of a job.
        threads: That each of them took; 0: not recorded.
    """

    seconds: float
    threads: int = 0


@dataclass
class Times:
    """Expected seconds of jobs by rule.

    Attributes:
        recorded: Of another machine, by benchmark (:func:`benchmark_of`).
        earlier: Of earlier runs here, by benchmark.
        unrecorded: Rules without benchmark, as the workflow tells: no run ever records their times.
        finished: Seconds of the jobs that have finished in this run, by rule.
    """

    recorded: Mapping[str, Recorded] = field(default_factory=dict)
    earlier: Mapping[str, Recorded] = field(default_factory=dict)
    unrecorded: Collection[str] = ()
    finished: dict[str, list[float]] = field(default_factory=dict)

    def add(self, rule: str, seconds: float) -> None:
        """Count a job that has finished in this run."""
        self.finished.setdefault(rule, []).append(seconds)

    def seconds(self, rule: str) -> float | None:
        """Expected seconds of a job; None if none was ever timed of a rule that has benchmarks."""
        if jobs := self.finished.get(rule):
            return sum(jobs) / len(jobs)
        name = benchmark_of(rule)
        if name in self.earlier:
            return self.earlier[name].seconds * self.pace()
        if name in self.recorded:
            return self.recorded[name].seconds * self.slowness()
        return UNTIMED if rule in self.unrecorded else None

    def threads(self, rule: str) -> int:
        """Recorded threads of a job; 1 if they are not recorded."""
        name = benchmark_of(rule)
        return max(1, self.recorded[name].threads) if name in self.recorded else 1

    def pace(self) -> float:
        """Seconds of this run's jobs over those of earlier runs here; 1 before any is known."""
        return _ratio(
            (sum(jobs), len(jobs) * self.earlier[benchmark_of(rule)].seconds)
            for rule, jobs in self.finished.items()
            if benchmark_of(rule) in self.earlier
        )

    def slowness(self) -> float:
        """Seconds measured here over recorded seconds of the same jobs; 1 before any is known."""
        measured = [
            (benchmark_of(rule), len(jobs), sum(jobs)) for rule, jobs in self.finished.items()
        ]
        seen, pace = {name for name, _, _ in measured}, self.pace()
        measured += [
            (name, 1, of.seconds * pace) for name, of in self.earlier.items() if name not in seen
        ]
        return _ratio(
            (seconds, jobs * self.recorded[name].seconds)
            for name, jobs, seconds in measured
            if name in self.recorded
        )


def _ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """Ratio of sums of measured and expected seconds."""
    measured = expected = TRUSTED
    for one, other in pairs:
        measured, expected = measured + one, expected + other
    return measured / expected


def benchmark_of(rule: str) -> str:
    """File or folder of a rule's benchmarks, without suffix; all figures share one folder."""
    return FIGURES if rule.startswith("figure") else rule


def read_times(path: str | Path) -> dict[str, Recorded]:
    """The recorded table: benchmark -> time.

    Raises:
        UserError: there is no such table, or it lacks a column.
    """
    path = Path(path)
    require(path.is_file(), f"{path}: no such table of times. Name another, or none.")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    require(
        bool(rows) and set(COLUMNS) <= set(rows[0]),
        f"{path} needs the columns {', '.join(COLUMNS)}. Write it anew: `ldae times`.",
    )
    return {row["rule"]: Recorded(float(row["seconds"]), int(row["threads"])) for row in rows}


def earlier_times(benchmarks: str | Path) -> dict[str, Recorded]:
    """Times of the jobs whose benchmarks lie in a results folder; empty without any."""
    # Not above: jobs on compute nodes load the logger, which needs no pandas until it has jobs.
    from ldae.orchestration.job_usage import largest_usage

    return {
        name: Recorded(sum(seconds) / len(seconds))
        for name, jobs in largest_usage(Path(benchmarks)).items()
        if (seconds := [row["s"] for row in jobs.values() if "s" in row])
    }


def record_times(results: Path, table: Path) -> list[str]:
    """Write the recorded table from the benchmarks of a finished run.

    Args:
        results: ``paths.results`` of the run: reads benchmarks/ and tables/resources.tsv (threads).
        table: Output, with the columns ``COLUMNS``, slowest rules first; seconds are a job's mean.

    Returns:
        Lines that say what was written.

    Raises:
        UserError: the run has not ended in a report.
    """
    from ldae.files import read_table, write_table
    from ldae.orchestration.job_usage import job_usage_table, largest_usage

    asked = results / "tables/resources.tsv"
    benchmarks = results / "benchmarks"
    require(
        asked.is_file() and (benchmarks / f"{REPORT}.tsv").is_file(),
        f"{results} has no finished run: {asked} or the benchmark of the report is missing. "
        "Run `make demo` first, or name the folder with --results.",
    )
    threads = read_table(asked).set_index("rule")["threads_asked"].dropna().astype(int).to_dict()
    usage = job_usage_table(benchmarks, results / "models", {})
    rows = usage[["rule", "jobs"]].assign(seconds=usage["seconds"] / usage["jobs"])
    (report,) = largest_usage(benchmarks)[REPORT].values()
    rows.loc[len(rows)] = [REPORT, 1, report["s"]]
    rows["threads"] = [int(threads.get(rule, 1)) for rule in rows["rule"]]
    rows["seconds"] = rows["seconds"].astype(float).round(1)
    write_table(rows[list(COLUMNS)].sort_values("seconds", ascending=False), table)
    total = float((rows["jobs"] * rows["seconds"]).sum())
    return [f"{table}: {len(rows)} rules, {total / 60:.0f} minutes of jobs, from {benchmarks}"]
