"""Integrity check of stores: ``python -m ldae.data results/cache/volumes results/cache/latents``.

It reads every array and compares it with its checksum, for use after copying a store to another
disk.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ldae.data.scratch import KINDS
from ldae.data.store import CARD
from ldae.errors import exit_status, require
from ldae.files import read_json


def main(arguments: list[str] | None = None) -> int:
    """Verify each folder; return 1 at the first damaged or unfinished store, else 0."""
    parser = argparse.ArgumentParser(prog="python -m ldae.data", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    folders = parser.parse_args(arguments).folders
    return exit_status(lambda: _verify(folders))


def _verify(folders: Sequence[Path]) -> None:
    for folder in folders:
        require((folder / CARD).is_file(), f"There is no finished store in {folder}.")
        store = KINDS[read_json(folder / CARD)["kind"]](folder)
        store.verify()
        print(
            f"{folder}: {len(store)} {store.made_by} are intact, content hash {store.content_hash}"
        )


if __name__ == "__main__":
    sys.exit(main())
