"""Rows of external test sets in Tables 6 and 7: their own, and differences to the own test set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ldae.files import read_table
from ldae.report.tables.table import Table
from ldae.systems import TARGETS

Rows = list[list[str]]
BOTH = "Differences: estimate [95 % interval, the subjects of both test sets resampled]."


@dataclass(frozen=True)
class External:
    """Long tables of one experiment on external test sets.

    Attributes:
        reference: Name of the main cohort.
        values: Column cohort, and those of the experiment's own table; a test set or target that
            was left out has a row with a note and without a value.
        differences: Column cohort, and ``difference`` to the cohort's own test set.
    """

    reference: str
    values: pd.DataFrame
    differences: pd.DataFrame

    @classmethod
    def read(cls, paths: Mapping[str, str | Path], name: str, reference: str) -> "External | None":
        """The tables ``name`` and ``name_differences`` of ``paths``; None if they are not there."""
        if name not in paths:
            return None
        differences = read_table(paths[f"{name}_differences"], ("cohort", "difference"))
        return cls(reference, read_table(paths[name], ("cohort", "value", "note")), differences)

    def beside(self, own: Table, make: Callable[[pd.DataFrame, str], Rows]) -> Table:
        """The printed table of the cohort's own test set, with the rows of the external ones.

        Args:
            own: The table.
            make: As for :meth:`rows`.
        """
        columns, rows = ["Test set", *own.columns], self.rows(own.rows, make)
        return replace(own, columns=columns, rows=rows, note=f"{own.note} {self.note()}")

    def rows(self, own: Rows, make: Callable[[pd.DataFrame, str], Rows]) -> Rows:
        """All rows of a printed table, each with the name of its test set in front.

        Args:
            own: Rows of the cohort's own test set.
            make: Rows of a long table, from the column of its estimate.
        """
        found = [[self.reference, *row] for row in own]
        for cohort, part in self.values.groupby("cohort", sort=False):
            found += [[cohort, *row] for row in make(part[part["note"].isna()], "value")]
            gaps = self.differences[self.differences["cohort"] == cohort]
            title = f"{cohort} − {self.reference}"
            found += [[title, *row] for row in make(gaps, "difference")]
        return found

    def note(self) -> str:
        """Sentences for a printed table's note: size of each test set, and what was left out."""
        parts = []
        for cohort, table in self.values.groupby("cohort", sort=False):
            for keys, part in table.groupby([*self._targets()] or "cohort", sort=False):
                name = f"{cohort}, {TARGETS[keys[0]].label}" if self._targets() else cohort
                why = part["note"].dropna()
                if len(why):
                    parts.append(f"{name}, left out: {why.iloc[0]}.")
                    continue
                sizes = part.groupby("system", sort=False)[["n_scans", "n_subjects"]].max()
                shown = [f"{s:,.0f} scans of {n:,.0f} subjects" for s, n in sizes.to_numpy()]
                if len(set(shown)) > 1:  # evaluation caps the scans of slow systems
                    shown = [
                        f"{label}: {text}" for label, text in zip(sizes.index, shown, strict=True)
                    ]
                parts.append(f"{name}: {'; '.join(dict.fromkeys(shown))}.")
        return " ".join([BOTH, *parts])

    def _targets(self) -> list[str]:
        return ["target"] if "target" in self.values else []
