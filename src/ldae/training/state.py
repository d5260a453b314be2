"""Trainer state (step, history, best epoch, running means), history.tsv, and the outcome.

Weights and optimizers are kept elsewhere. history.tsv has one row for each epoch; its last columns
are time and memory, which differ between runs.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.compute import Tensors
from ldae.files import write_table

TIMING = ["samples_per_second", "seconds", "peak_memory_mib"]
FIRST = ["epoch", "step", "learning_rate", "grad_norm"]
Row = dict[str, float | int]
Sums = dict[str, tuple[float, float]]  # by name: sum and number of values


def write_history(rows: list[Row], path: str | Path) -> None:
    """Write history.tsv; epochs without validation have ``n/a`` in the columns ``val_*``."""
    table = pd.DataFrame(rows)
    losses = [name for name in table if name.startswith("train_")]
    losses.sort(key=lambda name: name.split("_q")[1:])  # quarters of t, if any, last and in order
    metrics = [name for name in table if name.startswith("val_")]
    write_table(table[[*FIRST, *losses, *metrics, *TIMING]], path, digits=9)


class Means:
    """Means over one epoch of values that are added as sums and counts."""

    def __init__(self) -> None:
        self.sums: Sums = {}

    def add(self, values: Sums) -> None:
        """Add one step's sums."""
        for name, (total, count) in values.items():
            before, counted = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (before + total, counted + count)

    def result(self) -> dict[str, float]:
        """Means of all that was added, by name; names with a count of zero are left out."""
        return {name: total / count for name, (total, count) in self.sums.items() if count}

    def state_dict(self) -> dict[str, list[float]]:
        """Sums and counts, as plain numbers."""
        return {name: list(pair) for name, pair in self.sums.items()}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Continue from saved sums and counts."""
        self.sums = {name: (total, count) for name, (total, count) in state.items()}


@dataclass
class State:
    """Progress of a training. Its position in the data follows from ``step`` (`data.sampling`)."""

    step: int = 0
    history: list[Row] = field(default_factory=list)
    best: dict[str, Any] | None = None  # epoch, step, score, file, sha256
    faults: list[str] = field(default_factory=list)  # damaged files; they become flags of the model
    means: Means = field(default_factory=Means)  # of the current epoch
    seconds: float = 0.0  # of the current epoch's steps

    def state_dict(self) -> dict[str, Any]:
        """The fields, of plain numbers and strings."""
        return {**vars(self), "means": self.means.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        for key, value in state.items():
            if key == "means":
                self.means.load_state_dict(value)
            else:
                setattr(self, key, value)


@dataclass(frozen=True)
class Trained:
    """Outcome of a training: the weights to keep, their epoch and metrics, and the history."""

    state: Tensors
    epoch: int
    metrics: dict[str, float]
    flags: list[str]  # warnings from the metrics and of damaged files
    history: list[Row]
    steps: int
    folder: Path  # of the checkpoints
