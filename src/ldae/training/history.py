"""history.tsv: one row an epoch. Columns of time and memory, which no two runs share, are last."""

from pathlib import Path

import pandas as pd

from ldae.files import write_table

TIMING = ["samples_per_second", "seconds", "peak_memory_mib"]
FIRST = ["epoch", "step", "learning_rate", "grad_norm"]

Row = dict[str, float | int]
Sums = dict[str, tuple[float, float]]  # by name: a sum, and of how many values


def write_history(rows: list[Row], path: str | Path) -> None:
    """Write the rows; epochs without validation have ``n/a`` in its columns."""
    table = pd.DataFrame(rows)
    losses = [name for name in table if name.startswith("train_")]
    losses.sort(key=lambda name: name.split("_q")[1:])  # quarters of t, if any, last and in order
    metrics = [name for name in table if name.startswith("val_")]
    write_table(table[[*FIRST, *losses, *metrics, *TIMING]], path, digits=9)


class Means:
    """Means over one epoch of values that come as sums; the state is plain numbers."""

    def __init__(self) -> None:
        self.sums: Sums = {}

    def add(self, values: Sums) -> None:
        """Count one step's sums."""
        for name, (total, count) in values.items():
            before, counted = self.sums.get(name, (0.0, 0.0))
            self.sums[name] = (before + total, counted + count)

    def result(self) -> dict[str, float]:
        """Means since the last reset, by name; what was never counted is left out."""
        return {name: total / count for name, (total, count) in self.sums.items() if count}

    def state_dict(self) -> dict[str, list[float]]:
        """Sums and counts."""
        return {name: list(pair) for name, pair in self.sums.items()}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Continue from saved sums and counts."""
        self.sums = {name: (total, count) for name, (total, count) in state.items()}
