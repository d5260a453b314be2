"""Many scans by one command: a row each, with the reason of a failure; done work is kept.

The table is written as the scans come. The same command again leaves out what is done from the same
file by the same models and settings, and tries what failed again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.application.inputs import InputScan
from ldae.delimited import read_tsv
from ldae.errors import UserError
from ldae.files import digest, sha256, write_table
from ldae.progress import Progress

OK, FAILED = "ok", "failed"
KEYS = ("scan_id", "path", "sha256", "settings", "status", "reason")
SAVE_EVERY = 5.0  # seconds between two writings of the table


@dataclass
class Batch:
    """Work on many scans, with its table.

    Attributes:
        scans: The scans, with distinct names.
        table: TSV to write: scan_id, path, sha256 of the file, digest of the settings, status,
            reason, and what the work returned.
        settings: All that the results depend on beside the scan, such as the models' SHA-256.
        save: Called before each writing of the table; keeps what the work has made so far.
    """

    scans: Sequence[InputScan]
    table: Path
    settings: Mapping[str, Any]
    save: Callable[[], None] = lambda: None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._digest = digest(dict(self.settings))
        self._saved = time.monotonic()
        self._earlier = {}
        if self.table.is_file():
            earlier = read_tsv(self.table, KEYS)
            self._earlier = {row["scan_id"]: row for row in earlier.to_dict("records")}

    @property
    def failed(self) -> list[str]:
        """Names of the scans that failed."""
        return [name for name, row in self.rows.items() if row["status"] == FAILED]

    def run(
        self,
        work: Callable[[InputScan], Mapping[str, Any]],
        is_kept: Callable[[InputScan], bool],
        label: str,
    ) -> pd.DataFrame:
        """Work on each scan that is not done; returns the table.

        Args:
            work: Makes the results of a scan and returns columns of its row. A
                :class:`UserError` is the reason of a failed row; other exceptions end the run.
            is_kept: Whether the results of an earlier run are still there.
            label: What is done, for the progress lines.
        """
        progress = Progress(label, len(self.scans))
        try:
            for number, scan in enumerate(self.scans, start=1):
                self.rows[scan.scan_id] = self._row(scan, work, is_kept)
                if time.monotonic() - self._saved > SAVE_EVERY:
                    self._write()
                progress.step(number)
        finally:  # also after Ctrl-C
            self._write()
        return pd.DataFrame(self.rows.values())

    def _row(
        self,
        scan: InputScan,
        work: Callable[[InputScan], Mapping[str, Any]],
        is_kept: Callable[[InputScan], bool],
    ) -> dict[str, Any]:
        row = {"scan_id": scan.scan_id, "path": str(scan.path), "settings": self._digest}
        try:
            if not scan.path.is_file():
                raise UserError(f"{scan.path} does not exist")
            row["sha256"] = sha256(scan.path)
            if self._is_done(row) and is_kept(scan):
                return self._earlier[scan.scan_id]
            return {**row, "status": OK, "reason": "", **work(scan)}
        except UserError as error:
            logging.warning("%s: %s", scan.scan_id, error)
            return {**row, "status": FAILED, "reason": str(error)}

    def _is_done(self, row: Mapping[str, Any]) -> bool:
        earlier = self._earlier.get(row["scan_id"])
        same = ("sha256", "settings")
        return (
            earlier is not None
            and earlier["status"] == OK
            and all(earlier[key] == row[key] for key in same)
        )

    def _write(self) -> None:
        self.save()
        rows = list(self._all_rows())
        first = [key for key in KEYS if any(key in row for row in rows)]
        table = pd.DataFrame(rows)
        if len(table):
            table = table[first + [name for name in table if name not in first]]
            write_table(table, self.table)
        self._saved = time.monotonic()

    def _all_rows(self) -> Iterator[dict[str, Any]]:
        """Rows of this run, in the order of the scans, then those of earlier runs not yet seen."""
        yield from self.rows.values()
        for scan in self.scans:
            if scan.scan_id not in self.rows and scan.scan_id in self._earlier:
                yield self._earlier[scan.scan_id]
