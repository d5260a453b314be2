"""Store: a folder of memory-mapped arrays with an index, checksums and a card.

This is the common base of the volume store and the latent store. The folder may be copied anywhere,
since all its paths are relative. Its tables::

    index.tsv      one row per scan, in the store's order: row, the columns of scans.tsv, split, and
                   sha256 of the scan's array (raw bytes)
    index.sha256   checksum of index.tsv, as ``sha256sum --check`` reads it
    store.json     shape, dtype and ``sum``; written last: without it the store is not finished

``sum``, the content hash, covers the arrays, their order and the splits, but no other column of
index.tsv. A corrected diagnosis changes the tables, but neither the store nor the models trained on
it.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.cohort.splits import assert_disjoint
from ldae.errors import UserError, require
from ldae.files import atomic, digest, read_json, read_table, sha256, write_json, write_table

# Errors of file systems that cannot reserve space; others raise none but fill the file.
UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL)
INDEX, INDEX_HASH, CARD = "index.tsv", "index.sha256", "store.json"
IDENTITY = ("scan_id", "participant_id", "split", "sha256")
# Keys of a store's card that change when a scan is added.
KEYS_OF_SCANS = ("sum", "shape", "volumes")


def create_array(path: Path, dtype: str | type, shape: Sequence[int]) -> np.memmap:
    """Make an ``.npy`` file to be filled by memory map, with all of its disk space reserved.

    A new memory-mapped file is sparse. If the disk is full when data are written into it, a signal
    (SIGBUS) kills the process, without a message and without an exception.

    Raises:
        OSError: the disk is full (ENOSPC) or the quota is used up (EDQUOT).
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))
    with path.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
    return array


def open_array(path: Path, shape: Iterable[int], dtype: str, again: str) -> np.ndarray:
    """Memory-map an ``.npy`` of at least ``shape[0]`` rows and otherwise exactly this shape.

    Args:
        path: The file.
        shape, dtype: As the store's card says.
        again: Advice on how to remake the file; the end of the error's message.

    Raises:
        UserError: the file is absent or cut short, or has another shape or dtype.
    """
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read or is cut short. {again}") from error
    rows, *shape = shape
    require(
        array.shape[1:] == tuple(shape) and len(array) >= rows and str(array.dtype) == dtype,
        f"{path} holds {array.dtype} {list(array.shape)}, but its store says {dtype} of "
        f"{rows} x {shape}. {again}",
    )
    return array


def finish_store(folder: Path, index: pd.DataFrame, card: dict[str, Any]) -> None:
    """Write the tables of a store whose arrays are complete, the card last.

    Args:
        folder: The store.
        index: Its scans in order, with the columns ``IDENTITY``; ``row`` is added in front.
        card: shape and dtype of all arrays together, and the store's other properties. Equal
            content gives equal bytes, regardless of the time and the code that made it.
    """
    folder = Path(folder)
    (folder / CARD).unlink(missing_ok=True)
    index = index.reset_index(drop=True)
    index.insert(0, "row", np.arange(len(index)))
    write_table(index, folder / INDEX)
    with atomic(folder / INDEX_HASH) as temporary:
        temporary.write_text(f"{sha256(folder / INDEX)}  {INDEX}\n")
    write_json({**card, "sum": hash_of_content(card, index)}, folder / CARD)


def hash_of_content(card: dict[str, Any], index: pd.DataFrame) -> str:
    """Content hash of a store: of its card and of the columns ``IDENTITY`` of its index."""
    content = {key: value for key, value in card.items() if key != "sum"}
    return digest([content, index[list(IDENTITY)].to_numpy().tolist()])


class Store:
    """Base class of the stores: card, index, and the check that the files belong together.

    Attributes:
        made_by: Kind of the store: the workflow's target that makes it, and its name on scratch.
        columns: Columns of the index that are required besides row and ``IDENTITY``.
        folder: The store's folder.
        again: Advice on how to remake the store, for messages.
        card: Content of store.json.
        index: The index, one row per scan.

    Raises:
        UserError: the store is unfinished, its files disagree, or a participant is in two splits.
    """

    made_by = ""
    columns: tuple[str, ...] = ()

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.again = f"Remake it: delete {self.folder} and run `snakemake {self.made_by}`."
        require(
            (self.folder / CARD).is_file(),
            f"There is no finished store in {self.folder}. Run `snakemake {self.made_by}`.",
        )
        self.card: dict[str, Any] = read_json(self.folder / CARD)
        index_file, index_hash_file = self.folder / INDEX, self.folder / INDEX_HASH
        require(
            "sum" in self.card and index_hash_file.is_file(),
            f"The store in {self.folder} was made by an earlier version. {self.again}",
        )
        require(
            index_file.is_file()
            and index_hash_file.read_text().split()[:1] == [sha256(index_file)],
            f"{index_file} is not the index that {self.folder} was built with. {self.again}",
        )
        self.index = read_table(index_file, ["row", *IDENTITY, *self.columns])
        assert_disjoint(self.index)
        require(
            len(self.index) == self.card["shape"][0]
            and bool((self.index["row"] == np.arange(len(self.index))).all())
            and self.card["sum"] == hash_of_content(self.card, self.index),
            f"{self.folder / CARD} and {index_file} are not of one store. {self.again}",
        )

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, split: str) -> np.ndarray:
        """Rows of one split, ascending.

        Raises:
            UserError: the split is empty.
        """
        rows = self.index.index[self.index["split"] == split].to_numpy()
        require(
            len(rows) > 0,
            f"No scan of {self.folder} is in the split {split!r}. Give it more subjects: "
            "cohort.splits.test_fraction and cohort.splits.val_fraction.",
        )
        return rows

    @property
    def content_hash(self) -> str:
        """Hash of arrays, order and splits; every model trained on the store records it."""
        return self.card["sum"]

    @property
    def form(self) -> dict[str, Any]:
        """Properties of each array (shape of one, dtype, ...), which more scans do not change."""
        form = {key: value for key, value in self.card.items() if key not in KEYS_OF_SCANS}
        return form | {"shape": self.card["shape"][1:]}

    @property
    def training_hash(self) -> str:
        """Hash of what a training reads: the form, and the scans of the splits train and val."""
        rows = self.index.loc[self.index["split"].isin(("train", "val")), list(IDENTITY)]
        return digest([self.form, rows.to_numpy().tolist()])

    @property
    def split_hash(self) -> str:
        """Hash of the participants of each split."""
        splits = self.index[["participant_id", "split"]].drop_duplicates()
        return digest(sorted(map(list, splits.itertuples(index=False))))

    def arrays(self) -> list[str]:
        """Files that hold the arrays, relative to the folder."""
        raise NotImplementedError

    def files(self) -> list[str]:
        """All files that a reader of the store needs, relative to the folder, the card last."""
        return [*self.arrays(), INDEX, INDEX_HASH, CARD]

    def row_hash(self, row: int) -> str:
        """SHA-256 of a row's arrays as they are on disk."""
        raise NotImplementedError

    def verify(self) -> None:
        """Read every array and compare it with its checksum.

        Raises:
            UserError: a row was changed after the store was made.
        """
        wrong = [
            scan.scan_id
            for scan in self.index.itertuples()
            if self.row_hash(int(scan.row)) != scan.sha256
        ]
        require(
            not wrong,
            f"{len(wrong)} of {len(self)} arrays in {self.folder} differ from their checksums, "
            f"first that of {wrong[0] if wrong else ''}. {self.again}",
        )
