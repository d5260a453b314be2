"""What the run cost: time and memory of every rule and of the trainings, and the software."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.figures.text import ABSENT, number
from ldae.report.tables import Table

PACKAGES = (
    "torch",
    "monai",
    "timm",
    "lpips",
    "antspyx",
    "antspynet",
    "deepbet",
    "nibabel",
    "pybids",
    "scikit-learn",
    "scikit-image",
    "scipy",
    "numpy",
    "pandas",
    "matplotlib",
    "snakemake",
)


COLUMNS = (
    "rule",
    "jobs",
    "seconds",
    "longest_seconds",
    "cpu_seconds",
    "max_rss_mib",
    "gpus",
    "gpu_hours",
    "threads_asked",
    "mem_mib_asked",
    "runtime_min_asked",
)


def accounting(folder: Path, asked: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """What each rule took, summed over its jobs, beside what it asked for.

    Args:
        folder: Snakemake's benchmarks, ``<rule>.tsv`` or ``<rule>/<job>.tsv``; the row of a job's
            last run counts. The report's own is left out: it is written after the report.
        asked: By rule, what its jobs ask for: ``threads``, ``mem_mb``, ``runtime``, ``gpu``.

    Returns:
        Columns ``COLUMNS``, most wall time first. gpu_hours is wall time times the GPUs asked for;
        missing (n/a) where Snakemake measured nothing, as for jobs of less than a second.
    """
    jobs: dict[str, list[pd.Series]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        name = path.relative_to(folder).with_suffix("").parts[0]
        if name != "report":
            row = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[-1]
            jobs.setdefault(name, []).append(row)
    rows = []
    for name, found in jobs.items():
        measured = pd.DataFrame(found).apply(pd.to_numeric, errors="coerce")
        measured = measured.reindex(columns=["s", "cpu_time", "max_rss"])
        wants, seconds = asked.get(name, {}), measured["s"].sum()
        gpus = wants.get("gpu", 0)
        rows.append(
            [
                name,
                len(found),
                seconds,
                measured["s"].max(),
                measured["cpu_time"].sum(min_count=1),
                measured["max_rss"].max(),
                gpus,
                gpus * seconds / 3600,
                *(wants.get(key) for key in ("threads", "mem_mb", "runtime")),
            ]
        )
    rows.sort(key=lambda row: (-row[2], row[0]))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = [name for name in COLUMNS if name.endswith("_asked")]
    return table.astype(dict.fromkeys(whole, "Int64"))


def resources(table: pd.DataFrame) -> Table | None:
    """The table of :func:`accounting`, printed; None if it is empty."""
    if table.empty:
        return None
    rows = [
        [
            one.rule,
            f"{one.jobs:,}",
            duration(one.seconds),
            duration(one.longest_seconds),
            duration(one.cpu_seconds),
            _gib(one.max_rss_mib),
            _gib(one.mem_mib_asked),
            ABSENT if pd.isna(one.threads_asked) else f"{one.threads_asked}",
            f"{one.gpus}",
            number(one.gpu_hours, 2) if one.gpus else ABSENT,
        ]
        for one in table.itertuples()
    ]
    hours = table["gpu_hours"].sum()
    total = [f"{table['jobs'].sum():,}", duration(table["seconds"].sum()), ABSENT]
    total += [duration(table["cpu_seconds"].sum()), *[ABSENT] * 4]
    rows.append(["all", *total, number(hours, 2) if hours else ABSENT])
    return Table(
        "Time, memory and GPUs by rule",
        [
            "Rule",
            "Jobs",
            "Wall time, summed",
            "Longest job",
            "CPU time",
            "Peak memory (GiB)",
            "Memory asked (GiB)",
            "Threads asked",
            "GPUs asked",
            "GPU-hours",
        ],
        rows,
        "From Snakemake's benchmark of the last run of each job; of a training that was stopped "
        "and continued it is the last part, the whole time stands under Training. Jobs run side by "
        "side, so the sum is more than what one waits. GPU-hours are wall time times GPUs.",
        {len(rows) - 1},
    )


def duration(seconds: float) -> str:
    """``4 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if not pd.notna(seconds):
        return ABSENT
    whole = round(float(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _gib(mebibytes: float) -> str:
    return ABSENT if pd.isna(mebibytes) else number(float(mebibytes) / 1024, 2)


def training_table(cards: dict[str, dict[str, Any]], histories: dict[str, pd.DataFrame]) -> Table:
    """Size and cost of the trainings; published weights have neither history nor cost.

    Args:
        cards: ``model.json`` by stage.
        histories: ``history.tsv`` of the stages that were trained here.
    """
    rows = []
    for stage, card in cards.items():
        if stage not in histories:
            rows.append([stage, *[ABSENT] * 5, "published weights", ABSENT])
            continue
        history, machine = histories[stage], card.get("machine", {})
        amounts = [card.get(key) for key in ("epochs", "steps", "epoch")]
        seconds = history["seconds"].sum() if "seconds" in history else float("nan")
        memory = history["peak_memory_mib"].max() if "peak_memory_mib" in history else float("nan")
        rows.append(
            [
                stage,
                *(ABSENT if amount is None else f"{amount:,}" for amount in amounts),
                duration(seconds),
                _gib(memory),
                str(machine.get("device", ABSENT)),
                str(machine.get("precision", ABSENT)),
            ]
        )
    columns = ["Stage", "Epochs", "Steps", "Epoch kept", "Time in epochs", "Peak memory (GiB)"]
    return Table("Trainings", [*columns, "Device", "Precision"], rows)


def software() -> dict[str, str]:
    """Versions of the packages that the numbers depend on, those installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an optional alternative, e.g. antspynet beside deepbet
            continue
    return found
