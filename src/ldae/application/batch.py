"""Many scans by one command: a row each, with the reason of a failure; done work is kept.

The table is written as the scans come. The same command again leaves out what is done from the same
file by the same models and settings, and tries what failed again. Rows of scans that an earlier
command has worked on stay.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.application.inputs import InputScan
from ldae.delimited import read_tsv
from ldae.errors import UserError, require
from ldae.files import MISSING, digest, write_table
from ldae.labels import count
from ldae.locks import locked
from ldae.progress import Progress, silent

OK, FAILED = "ok", "failed"
WARNINGS = "warnings"  # column of the table, sentences
KEYS = ("scan_id", "path", "content", "settings", "status", "reason")
SAVE_EVERY = 5.0  # seconds between two writings of the table


@dataclass
class Batch:
    """Work on many scans, with its table.

    Attributes:
        scans: The scans, with distinct names.
        table: TSV to write: scan_id, path, content (hash of the file), digest of the settings,
            status, reason, and what the work returned.
        settings: All that the results depend on beside the scan, such as the models' SHA-256.
        is_kept: Whether the results of an earlier command for a scan are still there.
        discard: Deletes them; called before a scan is worked on.
        save: Called before each writing of the table; keeps what the work has made so far.
    """

    scans: Sequence[InputScan]
    table: Path
    settings: Mapping[str, Any]
    is_kept: Callable[[InputScan], bool]
    discard: Callable[[InputScan], None]
    save: Callable[[], None] = lambda: None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            self.table.resolve() not in {scan.path.resolve() for scan in self.scans}
            and (not self.table.is_file() or self._is_ours()),
            f"The results would be listed in {self.table}, which is another table: name another "
            "--out.",
        )
        self._digest = digest(dict(self.settings))
        self._saved = time.monotonic()
        self._earlier: dict[str, dict[str, Any]] = {}
        if self.table.is_file():
            rows = read_tsv(self.table, KEYS).to_dict("records")
            self._earlier = {row["scan_id"]: row for row in rows}

    @property
    def failed(self) -> list[str]:
        """Names of the scans that failed."""
        return [name for name, row in self.rows.items() if row["status"] == FAILED]

    @property
    def summary(self) -> dict[str, Any]:
        """The number of scans, those that failed, the table, and what its warnings are."""
        said = [name for name, row in self.rows.items() if _is_text(row.get(WARNINGS))]
        few = f"{count(len(said), 'scan has', 'scans have')} warnings (column {WARNINGS} of "
        lead = "" if len(self.scans) == 1 else f"{few}{self.table}). "
        warnings = [f"{lead}{name}: {self.rows[name][WARNINGS]}" for name in said[:1]]
        found = {"scans": len(self.scans), "failed": self.failed, "table": str(self.table)}
        return {**found, WARNINGS: warnings}

    def run(self, work: Callable[[InputScan], Mapping[str, Any]], label: str) -> None:
        """Work on each scan that is not done.

        Args:
            work: Makes the results of a scan and returns columns of its row, of which ``warnings``
                are sentences for a person. A :class:`UserError` is the reason of a failed row;
                other exceptions end the run.
            label: What is done, for the progress lines.

        Raises:
            UserError: another process works on the same table.
        """
        several = len(self.scans) > 1
        progress = Progress(label, len(self.scans))
        lock = self.table.with_name(f".{self.table.name}.lock")
        with locked(lock, str(self.table), patience=0):
            self._run(work, progress if several else None)

    def _run(
        self, work: Callable[[InputScan], Mapping[str, Any]], progress: Progress | None
    ) -> None:
        try:
            for number, scan in enumerate(self.scans, start=1):
                self.rows[scan.scan_id] = row = self._row(scan, work)
                if progress and row["status"] == FAILED:
                    logging.warning("%s: %s", scan.scan_id, row["reason"])
                if time.monotonic() - self._saved > SAVE_EVERY:
                    self._write()
                if progress:
                    progress.step(number)
        finally:  # also after Ctrl-C
            self._write()

    def _row(
        self, scan: InputScan, work: Callable[[InputScan], Mapping[str, Any]]
    ) -> dict[str, Any]:
        row = {"scan_id": scan.scan_id, "path": str(scan.path), "settings": self._digest}
        try:
            row["content"] = scan.content()
            earlier = self._earlier.get(scan.scan_id)
            if earlier is not None and self._is_done(row, earlier) and self.is_kept(scan):
                return earlier
            if earlier is not None:  # its results are about to change: it is not done
                del self._earlier[scan.scan_id]
                self._write()
            self.discard(scan)
            with silent() if len(self.scans) > 1 else nullcontext():
                values = work(scan)
            return {**row, "status": OK, "reason": "", **_as_cells(values)}
        except UserError as error:
            self.discard(scan)
            return {**row, "status": FAILED, "reason": str(error)}

    def _is_done(self, row: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
        return earlier["status"] == OK and all(
            earlier[key] == row[key] for key in ("content", "settings")
        )

    def _is_ours(self) -> bool:
        """Whether the table that is there was written by a batch."""
        first = self.table.read_text(errors="replace").partition("\n")[0].split("\t")
        return set(first) >= set(KEYS)

    def _write(self) -> None:
        self.save()
        if rows := list(self._all_rows()):
            table = pd.DataFrame(rows).reindex(columns=self._columns(rows))
            # As text, since numbers of an earlier command are: pandas would write 100 and 100.0.
            write_table(table.map(_as_text), self.table)
        self._saved = time.monotonic()

    @staticmethod
    def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
        names = dict.fromkeys(name for row in rows for name in row)
        return [*KEYS, *(name for name in names if name not in KEYS)]

    def _all_rows(self) -> Iterator[dict[str, Any]]:
        """Rows of this run in the order of its scans, then those of earlier commands."""
        yield from self.rows.values()
        yield from (row for name, row in self._earlier.items() if name not in self.rows)


def _as_cells(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as cells of a table: sentences are joined."""
    return {key: " ".join(v) if isinstance(v, list) else v for key, v in values.items()}


def _is_text(cell: Any) -> bool:
    """Whether a cell, made now or by an earlier command, has something to say."""
    return isinstance(cell, str) and cell not in ("", MISSING)


def _as_text(value: Any) -> Any:
    """A finite float as text with six digits; anything else as it is."""
    is_number = isinstance(value, float) and math.isfinite(value)
    return f"{value:.6g}" if is_number else value
