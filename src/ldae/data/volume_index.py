"""Index of the volume store: tables of the packed scans that are used, their order and place."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.cohort.splits import assert_disjoint
from ldae.data.store import CARD, finish_store, open_array
from ldae.data.thumbnails import THUMBNAIL
from ldae.data.volume_packing import GRID_TOLERANCE
from ldae.errors import require
from ldae.files import read_json

RECORDED = ("scan_id", "sha256", THUMBNAIL, "reason")  # of a shard's description

log = logging.getLogger(__name__)


def build_volume_store(included: pd.DataFrame, shards: Sequence[Path], out_dir: Path) -> None:
    """Write index.tsv, index.sha256 and store.json over packed shards. No volume is read.

    Args:
        included: The scans to use, with the columns of scans.tsv and ``split``.
        shards: ``shard-{k}.json`` of all shards, in the folder ``shards`` of the store.
        out_dir: The store's folder. Files of other shards in it, left by a run with another number
            of shards, are deleted.

    Raises:
        UserError: an included scan is not packed or could not be, a subject is in two splits, or
            the shards differ in grid or settings.
    """
    out_dir = Path(out_dir)
    (out_dir / CARD).unlink(missing_ok=True)
    assert_disjoint(included)
    require(len(included) > 0, "No scan is left for the store; see the preprocessing manifests.")
    cards = {Path(path): read_json(path) for path in shards}
    included = included.sort_values("scan_id", ignore_index=True)
    index = included.merge(_packed(cards, out_dir), on="scan_id", how="left")
    again = "Run the target `preprocess` again."
    lost = index.loc[index["sha256"].isna(), "scan_id"].tolist()
    require(
        not lost,
        f"{len(lost)} included scans are in no shard of {out_dir}, first {lost[:1]}: it was packed "
        f"from another cohort. {again}",
    )
    useless = index[index["reason"] != ""]
    require(
        useless.empty,
        f"{len(useless)} included scans could not be packed (first "
        f"{useless['scan_id'].tolist()[:1]}), although their manifest says ok. {again}",
    )
    used = [cards[path] for path in cards if _array_name(path, out_dir) in set(index["file"])]
    first = used[0]
    require(
        all(card["key"] == first["key"] for card in used),
        f"The shards in {out_dir} were packed with different settings. {again}",
    )
    require(
        all(np.allclose(card["affine"], first["affine"], atol=GRID_TOLERANCE) for card in used),
        f"The shards in {out_dir} lie on different grids. {again}",
    )
    index = index.drop(columns="reason").astype({"file_row": int})
    shape, dtype = [1, *first["key"]["shape"]], first["key"]["dtype"]
    for file, rows in index.groupby("file")["file_row"].max().items():
        open_array(
            out_dir / file, [rows + 1, *shape], dtype, f"Delete {out_dir}, and then: {again}"
        )
    card: dict[str, Any] = {
        "kind": "volumes",
        "shape": [len(index), *shape],
        "dtype": dtype,
        "spacing": float(first["key"]["spacing"]),
        "affine": first["affine"],
    }
    finish_store(out_dir, index, card)
    _delete_strays(out_dir, set(cards))
    log.info("%d of %d packed volumes in %s", len(index), _count(cards), out_dir)


def _array_name(path: Path, out_dir: Path) -> str:
    """Path of the array beside a shard's description, relative to the store."""
    return path.with_suffix(".npy").relative_to(out_dir).as_posix()


def _packed(cards: dict[Path, dict[str, Any]], out_dir: Path) -> pd.DataFrame:
    """Table of all packed scans: file, file_row, and the columns ``RECORDED``."""
    rows = [
        (_array_name(path, out_dir), number, *(scan[name] for name in RECORDED))
        for path, card in cards.items()
        for number, scan in enumerate(card["scans"])
    ]
    table = pd.DataFrame(rows, columns=["file", "file_row", *RECORDED])
    twice = table.loc[table["scan_id"].duplicated(), "scan_id"].tolist()
    require(
        not twice,
        f"{len(twice)} scans are in two shards of {out_dir}, first {twice[:1]}. Delete the folder "
        "and run the target `preprocess` again.",
    )
    return table


def _count(cards: dict[Path, dict[str, Any]]) -> int:
    return sum(len(card["scans"]) for card in cards.values())


def _delete_strays(out_dir: Path, cards: set[Path]) -> None:
    """Delete files of shards that do not exist with the present number of shards."""
    ours = {path.stem for path in cards}
    for path in (out_dir / "shards").glob("*shard-*"):
        if path.name.lstrip(".").split(".")[0] not in ours:
            path.unlink()
            log.info("deleted %s: its shard no longer exists", path)
