"""history.tsv: one row an epoch. Columns of time and memory, which no two runs share, are last."""

from pathlib import Path

import pandas as pd

from ldae.files import write_table

TIMING = ["samples_per_second", "seconds", "peak_memory_mib"]
FIRST = ["epoch", "step", "learning_rate", "grad_norm"]

Row = dict[str, float | int]


def write_history(rows: list[Row], path: str | Path) -> None:
    """Write the rows; epochs without validation have ``n/a`` in its columns."""
    table = pd.DataFrame(rows)
    losses = [name for name in table if name.startswith("train_")]
    metrics = [name for name in table if name.startswith("val_")]
    write_table(table[[*FIRST, *losses, *metrics, *TIMING]], path, digits=9)


class Means:
    """Running means of the values of one epoch; the state is plain numbers."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: dict[str, float]) -> None:
        """Count one step's values."""
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def result(self) -> dict[str, float]:
        """Means since the last reset, by name."""
        return {name: total / self.counts[name] for name, total in self.totals.items()}

    def state_dict(self) -> dict[str, dict]:
        """Sums and counts."""
        return {"totals": dict(self.totals), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        """Continue from saved sums and counts."""
        self.totals, self.counts = dict(state["totals"]), dict(state["counts"])
