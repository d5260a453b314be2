"""Tables of job usage: time, memory and GPUs of every rule, cost of the trainings; software."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from ldae.labels import ABSENT, number
from ldae.orchestration.job_usage import HISTORY, MEMORY_MARGIN, TIME_MARGIN
from ldae.report.tables.table import Table

CONTINUED = " *"  # beside the time of a training that was stopped and continued
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


def resources(table: pd.DataFrame) -> Table | None:
    """Time, memory and GPUs by rule, with a row of sums; None if the table is empty.

    Args:
        table: From :func:`ldae.orchestration.job_usage.job_usage_table`.
    """
    if table.empty:
        return None
    rows = [
        [
            one.rule,
            f"{one.jobs:,}",
            duration(one.seconds) + (CONTINUED if one.counted_by == HISTORY else ""),
            duration(one.median_seconds),
            duration(one.longest_seconds),
            duration(one.runtime_min_asked * 60),
            duration(one.cpu_hours * 3600),
            _gib(one.max_rss_mib),
            _gib(one.mem_mib_asked),
            ABSENT if pd.isna(one.threads_asked) else f"{one.threads_asked}",
            f"{one.gpus}",
            number(one.gpu_hours, 2) if one.gpus else ABSENT,
            ABSENT
            if pd.isna(one.mem_mib_next)
            else f"{one.mem_mib_next // 1024} GiB, {duration(one.runtime_min_next * 60)}",
        ]
        for one in table.itertuples()
    ]
    hours = table["gpu_hours"].sum()
    total = [f"{table['jobs'].sum():,}", duration(table["seconds"].sum()), *[ABSENT] * 3]
    total += [duration(table["cpu_hours"].sum() * 3600), *[ABSENT] * 4]
    rows.append(["all", *total, number(hours, 2) if hours else ABSENT, ABSENT])
    return Table(
        "Time, memory and GPUs by rule",
        [
            "Rule",
            "Jobs",
            "Wall time, summed",
            "Median job",
            "Longest job",
            "Time asked",
            "CPU time",
            "Peak memory (GiB)",
            "Memory asked (GiB)",
            "Threads asked",
            "GPUs asked",
            "GPU-hours",
            "To ask next time",
        ],
        rows,
        _note(table),
        {len(rows) - 1},
    )


def _note(table: pd.DataFrame) -> str:
    """The note below the table: sums, and which time is counted."""
    longest = table.loc[table["longest_seconds"].idxmax()]
    continued = table["counted_by"].eq(HISTORY).any()
    epochs = f"; of trainings that were stopped and continued{CONTINUED} all epochs"
    return (
        f"{table['jobs'].sum():,} jobs took {table['cpu_hours'].sum():,.1f} CPU-hours and "
        f"{table['gpu_hours'].sum():,.1f} GPU-hours (wall time times GPUs asked for); the longest, "
        f"of {longest['rule']}, {duration(longest['longest_seconds'])}. Counted is the most that "
        f"each job took, by Snakemake's benchmark{epochs if continued else ''}. Not counted are "
        "attempts that failed, steps done again after a crash, and waiting in the queue. To ask "
        f"next time: {MEMORY_MARGIN} times the peak, {TIME_MARGIN} times the longest job, for a "
        "cohort and machines like these. Jobs run side by side, so the sum is more than what one "
        "waits."
    )


def duration(seconds: float) -> str:
    """Seconds as ``4 s``, ``3 min 20 s`` or ``2 h 05 min``; nan as a dash."""
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
    """Epochs, steps, time and memory of the trainings; published weights have none of these.

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
    """Versions of the installed packages among those that the results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an optional alternative, e.g. antspynet beside deepbet
            continue
    return found
