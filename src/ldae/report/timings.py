"""Snakemake's benchmarks, and the most that each job has ever taken.

Snakemake overwrites a job's benchmark whenever the job runs. A shard of which one scan is new ends
in seconds, and its benchmark would then say that a shard takes seconds. So the most that each job
has taken is kept beside the benchmarks, until its settings or source are others.
"""

import csv
import re
import time
from collections.abc import Mapping
from pathlib import Path

from ldae.files import read_json, write_json

MOST = "most.json"
MEASURED = ("s", "cpu_time", "max_rss")  # seconds of wall and of CPU, MiB

# By rule, by job: what was measured; a number is missing where Snakemake could not measure it.
Timings = dict[str, dict[str, dict[str, float]]]


def timings(benchmarks: Path, jobs: Mapping[str, int | None] | None = None) -> Timings:
    """The most that each job has taken since its settings and source are what they are.

    Args:
        benchmarks: Snakemake's, ``<rule>.tsv`` or ``<rule>/<job>.tsv``; the row of a job's last run
            counts.
        jobs: Number of jobs of rules that number them from 0, in the names of their files: files
            of others are of an earlier number of shards or batches, and are left out.
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


def remember(benchmarks: str | Path, costly: Mapping[str, str]) -> None:
    """Keep the most of each job before a run overwrites what was measured.

    Args:
        benchmarks: As for :func:`timings`.
        costly: By rule, a hash of what decides what its jobs take. Where it is another than at the
            run before, what was measured before counts no longer.
    """
    benchmarks = Path(benchmarks)
    kept, now = dict(_kept(benchmarks)), timings(benchmarks)
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
    """Rules and what :func:`remember` wrote of them: key, since (seconds of the epoch), jobs."""
    path = benchmarks / MOST
    return list(read_json(path).items()) if path.is_file() else []


def _last(path: Path) -> dict[str, float]:
    with path.open(newline="") as file:
        row = list(csv.DictReader(file, delimiter="\t"))[-1]
    return {key: float(row[key]) for key in MEASURED if row.get(key) not in ("-", "NA", "", None)}


def _counts(job: str, jobs: int | None) -> bool:
    """Whether a job's name is one of those there are now."""
    number = re.search(r"\d+$", job)
    return jobs is None or number is None or int(number[0]) < jobs
