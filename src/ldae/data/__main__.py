"""Check stores in full: ``python -m ldae.data results/cache/volumes results/cache/latents``.

Reads every array and compares it with its checksum, as after copying a store to another disk.
"""

import argparse
import sys
from pathlib import Path

from ldae.data.scratch import KINDS
from ldae.data.store import CARD
from ldae.errors import UserError, require
from ldae.files import read_json


def main(arguments: list[str] | None = None) -> int:
    """Verify each folder; return 1 at the first that is not whole."""
    parser = argparse.ArgumentParser(prog="python -m ldae.data", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    try:
        for folder in parser.parse_args(arguments).folders:
            require((folder / CARD).is_file(), f"There is no finished store in {folder}.")
            store = KINDS[read_json(folder / CARD)["kind"]](folder)
            store.verify()
            print(f"{folder}: {len(store)} {store.made_by} are whole, sum {store.content_hash}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
