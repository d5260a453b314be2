"""Job usage: time and memory of every job by Snakemake's benchmarks, and the requests to make next.

Snakemake overwrites a job's benchmark whenever the job runs. A shard with one new scan ends in
seconds, and its benchmark would then say that a shard takes seconds. So the largest time and memory
of each job are stored beside the benchmarks, in ``most.json``, until the settings or source of its
rule change.
"""

import csv
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.files import read_json, read_table, write_json

MOST = "most.json"
MEASURED = ("s", "cpu_time", "max_rss")  # seconds of wall and of CPU, MiB
# By rule, by job: MEASURED; a number is missing where Snakemake could not measure it.
Timings = dict[str, dict[str, dict[str, float]]]
COLUMNS = (
    "rule",
    "jobs",
    "seconds",
    "median_seconds",
    "longest_seconds",
    "counted_by",
    "cpu_hours",
    "max_rss_mib",
    "gpus",
    "gpu_hours",
    "threads_asked",
    "mem_mib_asked",
    "runtime_min_asked",
    "mem_mib_next",
    "runtime_min_next",
)
WHOLE = [name for name in COLUMNS if name.endswith(("_asked", "_next"))]
BENCHMARK, HISTORY = "benchmark", "history"
MEMORY_MARGIN = 1.3  # Snakemake samples every 30 s: peaks between two samples are missed
TIME_MARGIN = 1.5  # another node may be slower, a disk busier
LEAST_MINUTES = 10


def largest_usage(benchmarks: Path, jobs: Mapping[str, int | None] | None = None) -> Timings:
    """Largest time and memory of each job since the settings and source of its rule changed.

    Args:
        benchmarks: Folder of Snakemake's, ``<rule>.tsv`` or ``<rule>/<job>.tsv``; the last row of
            a file counts.
        jobs: Number of jobs by rule, where file names end in a job's number, from 0. Files with
            larger numbers are left out: there were more shards or batches earlier.
    """
    kept = _kept(benchmarks)
    found = {rule: {job: dict(of) for job, of in about["jobs"].items()} for rule, about in kept}
    since = {rule: about["since"] for rule, about in kept}
    for path in sorted(benchmarks.rglob("*.tsv")):
        name = path.relative_to(benchmarks).with_suffix("")
        if path.stat().st_mtime >= since.get(name.parts[0], 0):
            most = found.setdefault(name.parts[0], {}).setdefault(name.name, {})
            for key, value in _last(path).items():
                most[key] = max(value, most.get(key, value))
    limits = jobs or {}
    return {
        rule: there
        for rule, of in found.items()
        if (there := {job: row for job, row in of.items() if _counts(job, limits.get(rule))})
    }


def store_largest_usage(benchmarks: str | Path, costly: Mapping[str, str]) -> None:
    """Store the largest time and memory of each job before a run overwrites its benchmark.

    Args:
        benchmarks: As for :func:`largest_usage`.
        costly: By rule, :func:`ldae.orchestration.job_resources.cost_keys`. Where the hash differs
            from that of the previous run, earlier measurements no longer count.
    """
    benchmarks = Path(benchmarks)
    kept, now = dict(_kept(benchmarks)), largest_usage(benchmarks)
    changed = {rule for rule, key in costly.items() if rule in kept and kept[rule]["key"] != key}
    table = {
        rule: {"key": key, "since": time.time(), "jobs": {}}
        if rule in changed
        else {
            "key": key,
            "since": kept[rule]["since"] if rule in kept else 0.0,
            "jobs": now.get(rule, {}),
        }
        for rule, key in costly.items()
    }
    write_json(table, benchmarks / MOST)


def _kept(benchmarks: Path) -> list[tuple[str, dict]]:
    """Rules and their entries by :func:`store_largest_usage`: key, since (Unix time, s), jobs."""
    path = benchmarks / MOST
    return list(read_json(path).items()) if path.is_file() else []


def _last(path: Path) -> dict[str, float]:
    with path.open(newline="") as file:
        row = list(csv.DictReader(file, delimiter="\t"))[-1]
    return {key: float(row[key]) for key in MEASURED if row.get(key) not in ("-", "NA", "", None)}


def _counts(job: str, jobs: int | None) -> bool:
    """Whether a job's number, if its name has one, is below the present number of jobs."""
    number = re.search(r"\d+$", job)
    return jobs is None or number is None or int(number[0]) < jobs


def job_usage_table(
    benchmarks: Path, models: Path, asked: Mapping[str, Mapping[str, int]]
) -> pd.DataFrame:
    """Time, memory and requests of each rule over its jobs, and the requests to make next.

    A job counts by its largest time and memory (:func:`largest_usage`). A benchmark covers the last
    attempt alone. The history of a training that was stopped and continued holds the seconds of all
    epochs, over all attempts, so the larger of the two counts. Neither holds failed attempts, nor
    steps that were repeated after a crash.

    Args:
        benchmarks: Folder of Snakemake's. The report's own is left out: it is written after the
            report.
        models: Folder of the models; ``<rule>/history.tsv`` is that of a training.
        asked: By rule, the requests of its jobs: ``threads``, ``mem_mb``, ``runtime``, ``gpu``;
            and ``jobs``, the number of numbered ones.

    Returns:
        Columns ``COLUMNS``, most wall time first. seconds is summed over jobs, cpu_hours measured,
        gpu_hours wall time times the GPUs requested, counted_by benchmark or history. Values are
        missing (n/a) where Snakemake measured nothing, as for jobs of less than a second.
        ``_next``: the peak times ``MEMORY_MARGIN`` in whole GiB (mem_mib), and the longest job
        times ``TIME_MARGIN`` (runtime_min).
    """
    found = largest_usage(benchmarks, {rule: about.get("jobs") for rule, about in asked.items()})
    rows = [
        _row(
            name,
            pd.DataFrame(list(jobs.values()), columns=list(MEASURED)).astype(float),
            _training_seconds(models / name / "history.tsv"),
            asked.get(name),
        )
        for name, jobs in found.items()
        if name != "report"
    ]
    rows.sort(key=lambda row: (-row[2], row[0]))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(WHOLE, "Int64"))


def _row(
    name: str, measured: pd.DataFrame, trained: float, asked: Mapping[str, int] | None
) -> list:
    """One row of the table; ``trained``: seconds of a training's epochs, 0 if there are none."""
    seconds, counted = measured["s"], BENCHMARK
    if trained > seconds.sum():
        seconds, counted = pd.Series([trained]), HISTORY
    requested = asked or {}
    gpus, peak = requested.get("gpu") or 0, measured["max_rss"].max()
    longest = seconds.max()
    return [
        name,
        len(measured),
        seconds.sum(),
        seconds.median(),
        longest,
        counted,
        measured["cpu_time"].sum(min_count=1) / 3600,
        peak,
        gpus,
        gpus * seconds.sum() / 3600,
        *(requested.get(key) for key in ("threads", "mem_mb", "runtime")),
        None if math.isnan(peak) else 1024 * max(1, math.ceil(peak * MEMORY_MARGIN / 1024)),
        max(LEAST_MINUTES, math.ceil(np.nan_to_num(longest) * TIME_MARGIN / 60)),
    ]


def _training_seconds(history: Path) -> float:
    """Seconds of all epochs of a training, over all its attempts; 0 without a history."""
    return float(read_table(history, ["seconds"])["seconds"].sum()) if history.is_file() else 0.0


def set_resources_yaml(table: pd.DataFrame) -> str:
    """The ``_next`` columns of :func:`job_usage_table` as ``set-resources`` of a profile (YAML).

    Memory and minutes grow with the attempt, in case a job needs more than any before it. Rules
    without measured memory are left out; empty if there is no other.
    """
    lines = [
        f"  {one.rule}: {{mem_mb: {one.mem_mib_next} * attempt, "
        f"runtime: {one.runtime_min_next} * attempt}}"
        for one in table.sort_values("rule").itertuples()
        if pd.notna(one.mem_mib_next)
    ]
    return "\n".join(["set-resources:", *lines]) if lines else ""
