"""Plans of Snakemake after each change: tests/data/partial_runs.yaml."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[1] / "data/partial_runs.yaml"
CONTENT = yaml.safe_load(FILE.read_text())
PLANS: dict[str, dict[str, Any]] = {row["situation"]: row for row in CONTENT["situations"]}
GROUPS: dict[str, list[str]] = CONTENT["groups"]


def rules(entries: Iterable[str]) -> dict[str, int | None]:
    """Rules of a plan's entries, groups resolved.

    Args:
        entries: ``rule``, ``rule xN`` (N of its jobs run) or ``*group*``.

    Returns:
        Number of jobs by rule where it is given, otherwise None: all of them.
    """
    found: dict[str, int | None] = {}
    for entry in entries:
        if entry.startswith("*"):
            found = rules(GROUPS[entry.strip("*")]) | found
        else:
            rule, _, number = entry.partition(" x")
            found[rule] = int(number) if number else None
    return found
