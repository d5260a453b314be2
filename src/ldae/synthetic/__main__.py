"""Make a synthetic ADNI download: ``python -m ldae.synthetic --out DIR``."""

import argparse
import logging
import sys
from pathlib import Path

from ldae.errors import UserError
from ldae.synthetic.download import make_download
from ldae.synthetic.tables import FORMS


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ldae.synthetic",
        description="Make a synthetic ADNI download with known truth: images, tables, truth.tsv.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--subjects", type=int, default=40, help="number of subjects")
    parser.add_argument("--visits", type=int, default=3, help="visits of a subject")
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel edge in mm")
    parser.add_argument("--seed", type=int, default=1, help="of all random choices")
    parser.add_argument("--tables", choices=FORMS, default="clinica", help="form of the tables")
    parser.add_argument("--jobs", type=int, default=1, help="parallel processes")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        make_download(**vars(given))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
