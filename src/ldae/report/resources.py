"""What the run cost: time and memory of every rule and of the trainings, and the software."""

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


def resources(folder: Path) -> Table | None:
    """Time and memory of every rule, from Snakemake's benchmark files; None if there are none."""
    groups: dict[str, list[pd.Series]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        parts = path.relative_to(folder).with_suffix("").parts
        row = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[-1]
        groups.setdefault(parts[0], []).append(row)
    if not groups:
        return None
    jobs = {name: pd.DataFrame(found) for name, found in groups.items()}
    order = sorted(jobs, key=lambda name: (-jobs[name]["s"].sum(), name))
    rows = [
        [
            name,
            f"{len(jobs[name]):,}",
            duration(jobs[name]["s"].sum()),
            duration(jobs[name]["s"].max()),
            _gib(jobs[name].get("max_rss")),
            duration(jobs[name]["cpu_time"].sum()) if "cpu_time" in jobs[name] else ABSENT,
        ]
        for name in order
    ]
    total = sum(jobs[name]["s"].sum() for name in jobs)
    count = sum(map(len, jobs.values()))
    rows.append(["all", f"{count:,}", duration(total), ABSENT, ABSENT, ABSENT])
    return Table(
        "Time and memory by rule",
        ["Rule", "Jobs", "Wall time, summed", "Longest job", "Peak memory (GiB)", "CPU time"],
        rows,
        "From Snakemake's benchmark of the last run of each job; jobs run side by side, so the sum "
        "is more than what one waits.",
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


def _gib(column: pd.Series | None) -> str:
    values = pd.to_numeric(column, errors="coerce").dropna() if column is not None else pd.Series()
    return number(values.max() / 1024, 2) if len(values) else ABSENT


def training_table(cards: dict[str, dict[str, Any]], histories: dict[str, pd.DataFrame]) -> Table:
    """Size and cost of the three trainings."""
    rows = []
    for stage, card in cards.items():
        history = histories[stage]
        seconds = history["seconds"].sum() if "seconds" in history else float("nan")
        memory = history["peak_memory_mib"].max() if "peak_memory_mib" in history else float("nan")
        rows.append(
            [
                stage,
                f"{card['epochs']:,}",
                f"{card['steps']:,}",
                f"{card['epoch']:,}",
                duration(seconds),
                number(memory / 1024, 2),
                str(card["machine"]["device"]),
                str(card["machine"]["precision"]),
            ]
        )
    return Table(
        "Trainings",
        [
            "Stage",
            "Epochs",
            "Steps",
            "Epoch kept",
            "Time in epochs",
            "Peak memory (GiB)",
            "Device",
            "Precision",
        ],
        rows,
    )


def software() -> dict[str, str]:
    """Versions of the packages that the numbers depend on, those installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an optional alternative, e.g. antspynet beside deepbet
            continue
    return found
