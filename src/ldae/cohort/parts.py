"""The end of the conversion: all parts in one BIDS data set, all images in one table."""

import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from ldae.cohort.merge import merge_bids
from ldae.cohort.selection import COLUMNS, sort_images
from ldae.errors import UserError, require
from ldae.files import read_table


def merge_parts(
    parts: Mapping[str, Path],
    tables: Mapping[str, Path],
    images: str | Path | None,
    cohort: str,
    out: str | Path,
) -> pd.DataFrame:
    """Make one BIDS data set of all parts, and one table of all images.

    Args:
        parts: Name -> folder of the part (``bids/`` inside).
        tables: Name -> the part's conversion table.
        images: The plan's table of images, whose rows without a batch are added and whose others
            must all be in a part; None without a download.
        cohort: Name of the download's cohort.
        out: The BIDS folder to make.

    Returns:
        Columns :data:`ldae.cohort.selection.COLUMNS`, sorted by cohort, subject and image.

    Raises:
        UserError: a part is not there, a participant is in two, or nothing was converted.
    """
    lost = [name for name, part in parts.items() if not (part / "bids").is_dir()]
    require(
        not lost,
        f"The converted part(s) {', '.join(lost)} were removed. Delete "
        f"{', '.join(str(tables[name]) for name in lost)} as well, and run again.",
    )
    rows = [read_table(path, COLUMNS) for path in tables.values()]
    if images is not None:
        index = read_table(images)
        rest = index[index["batch"].isna()].reindex(columns=COLUMNS).assign(cohort=cohort)
        rows.append(rest)
    table = pd.concat([part for part in rows if len(part)] or rows, ignore_index=True)
    table = sort_images(table[COLUMNS])
    if images is not None:
        _require_all(table[table["cohort"] == cohort], index)
    converted = table[table["status"] == "converted"]
    if converted.empty:
        reasons = "\n  ".join(table["reason"].value_counts().index[:5])
        raise UserError(f"No scan was converted at all. The most frequent reasons:\n  {reasons}")
    bids = {name: part / "bids" for name, part in parts.items()}
    merge_bids(bids, list(dict.fromkeys(converted["cohort"])), Path(out))
    return table


def _require_all(table: pd.DataFrame, index: pd.DataFrame) -> None:
    """The table must account for every image on disk exactly once (else: our defect)."""
    accounted, on_disk = sorted(table["path"].dropna()), sorted(index["path"])
    if accounted != on_disk:
        odd = sorted(set(accounted) ^ set(on_disk))[:3]
        raise RuntimeError(
            f"{len(on_disk)} images are on disk, but the conversion table accounts for "
            f"{len(accounted)}; they differ in {odd}"
        )


def remove_stale(folder: str | Path, cohort: str, names: Collection[str]) -> list[str]:
    """Delete parts of batches that are no more, since there are fewer batches than before.

    Args:
        folder: The folder of the parts.
        cohort: Name of the download's cohort: its parts are called ``<cohort>-<number>``.
        names: Parts that stay.

    Returns:
        What was deleted, sorted.
    """
    pattern = re.compile(rf"(\.work-)?{re.escape(cohort)}-\d+")
    stale = [
        path
        for path in sorted(Path(folder).iterdir())
        if pattern.fullmatch(path.name) and path.name not in names
    ]
    for path in stale:
        shutil.rmtree(path)
    return [path.name for path in stale]
