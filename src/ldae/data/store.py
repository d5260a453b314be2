"""What the volume and the latent store have in common: card, index, and checks of both."""

from pathlib import Path
from typing import Any

import numpy as np

from ldae.cohort.splits import assert_disjoint
from ldae.errors import UserError, require
from ldae.files import digest, read_json, read_table, sha256


class Store:
    """What both stores share: the card, the index, the check that the files belong together."""

    arrays: tuple[str, ...] = ()
    made_by = ""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        require(
            (self.folder / "store.json").is_file(),
            f"There is no finished store in {self.folder}. Run `snakemake {self.made_by}`.",
        )
        self.card: dict[str, Any] = read_json(self.folder / "store.json")
        index_file = self.folder / "index.tsv"
        self.index = read_table(index_file, ["row", "scan_id", "participant_id", "split"])
        again = f"Remake it: delete the folder and run `snakemake {self.made_by}`."
        require(
            sha256(index_file) == self.card["index_sha256"]
            and len(self.index) == self.card["shape"][0]
            and bool((self.index["row"] == np.arange(len(self.index))).all()),
            f"{index_file} is not the index that {self.folder} was built with. {again}",
        )
        assert_disjoint(self.index)
        for name in self.arrays:
            try:
                array = np.load(self.folder / f"{name}.npy", mmap_mode="r")
            except (OSError, ValueError) as error:
                raise UserError(f"{self.folder / name}.npy cannot be read. {again}") from error
            require(
                list(array.shape) == self.card["shape"] and str(array.dtype) == self.card["dtype"],
                f"{self.folder / name}.npy is {array.dtype} {list(array.shape)}, but its store.json"
                f" says {self.card['dtype']} {self.card['shape']}. {again}",
            )
            setattr(self, f"_{name}", array)

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, split: str) -> np.ndarray:
        """Rows of one side, ascending.

        Raises:
            UserError: the side is empty.
        """
        rows = self.index.index[self.index["split"] == split].to_numpy()
        require(
            len(rows) > 0,
            f"No scan of {self.folder} is in the split {split!r}. Give it more subjects: "
            "cohort.splits.test_fraction and cohort.splits.val_fraction.",
        )
        return rows

    @property
    def sum(self) -> str:
        """One hash of contents and index, kept in every model trained on the store."""
        return digest([self.card["sha256"], self.card["index_sha256"]])

    @property
    def split_hash(self) -> str:
        """Hash of who is on which side."""
        sides = self.index[["participant_id", "split"]].drop_duplicates()
        return digest(sorted(map(list, sides.itertuples(index=False))))


def require_same_data(volumes: Store, card: dict[str, Any], folder: str | Path) -> None:
    """Raise unless the model with ``card`` was trained on ``volumes`` and its splits."""
    require(
        card["data"] == volumes.sum,
        f"The model in {folder} was trained on another volume store than {volumes.folder}. "
        "Train it again on this one.",
    )
