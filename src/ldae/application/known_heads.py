"""Heads of a folder or a table, and what is known of each beside its image.

A table has the columns ``path`` and, where they are known, ``scan_id``, ``age`` (years),
``segmentation`` (NIfTI), ``ventricle_ml`` (lateral ventricles) and ``source`` (words).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ldae.application.inputs import HEAD, TABLES, InputScan, find_scans, scan_rows
from ldae.errors import require
from ldae.files import MISSING, digest, sha256

NAMES = ("heads.tsv", "heads.csv")  # of the table in a folder of heads
OLDEST, LARGEST_ML = 120.0, 500.0  # years; of the lateral ventricles


@dataclass(frozen=True)
class KnownHead:
    """What is known of a head beside its image.

    Attributes:
        source: Where it comes from, in words for the page.
        age: Years.
        segmentation: NIfTI in the head's space whose voxels above 0 are brain.
        ventricle_ml: Volume of the lateral ventricles in the head's own scale, ml.
    """

    source: str = ""
    age: float = math.nan
    segmentation: Path | None = None
    ventricle_ml: float = math.nan

    def content(self) -> str:
        """Digest of what the measures depend on: all but the words, and the segmentation's file."""
        parts = {name: str(value) for name, value in asdict(self).items() if name != "source"}
        if self.segmentation is not None:
            parts["segmentation"] = sha256(self.segmentation)
        return digest(parts)


def find_heads(given: Path) -> tuple[list[InputScan], dict[str, KnownHead]]:
    """List the heads, and what is known of each by its name.

    Args:
        given: A folder or a file as :func:`ldae.application.inputs.find_scans` takes it, a folder
            with the table ``heads.tsv`` (or .csv), or that table.

    Raises:
        UserError: there is no head, two rows name the same, or a row has no number where one is
            expected, or names a segmentation that does not exist.
    """
    found = [given / name for name in NAMES if (given / name).is_file()]
    table = found[0] if found else given if given.suffix.lower() in TABLES else None
    scans = find_scans([table or given], HEAD)
    if table is None:
        return scans, {scan.scan_id: KnownHead() for scan in scans}
    rows, column = scan_rows(table)
    known: dict[Path, KnownHead] = {}
    for line, row in enumerate(rows.to_dict("records"), start=2):
        path = table.parent / row[column]
        require(
            path not in known,
            f"{table}, line {line}: {path} has a row above: keep the one that says what is known "
            "of this head.",
        )
        known[path] = _known(table, line, row)
    return scans, {scan.scan_id: known[scan.path] for scan in scans}


def _known(table: Path, line: int, row: Mapping[str, str]) -> KnownHead:
    """What a row of the table says."""
    text = {name: "" if value == MISSING else value for name, value in row.items()}
    where = f"{table}, line {line}"
    segmentation = None
    if named := text.get("segmentation", ""):
        segmentation = table.parent / named
        require(segmentation.is_file(), f"{where}: the segmentation {segmentation} does not exist.")
    return KnownHead(
        text.get("source", ""),
        _number(where, "age", text, OLDEST),
        segmentation,
        _number(where, "ventricle_ml", text, LARGEST_ML),
    )


def _number(where: str, column: str, text: Mapping[str, str], most: float) -> float:
    """A number of 0 to ``most``; nan where there is none."""
    if not (value := text.get(column, "")):
        return math.nan
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    require(
        0 <= number <= most,
        f"{where}: {column} is {value!r}; it must be a number from 0 to {most:g}, or empty.",
    )
    return number
