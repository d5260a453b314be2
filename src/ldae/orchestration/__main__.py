"""Preprocessing by hand: ``python -m ldae.orchestration retry --results results [--scan ID
...]``."""

import argparse
import sys
from pathlib import Path

from ldae.errors import UserError
from ldae.orchestration.rerun import try_again


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ldae.orchestration", description=__doc__)
    retry = parser.add_subparsers(required=True).add_parser(
        "retry", help="let failed scans and conversions be tried again by the next run"
    )
    retry.add_argument("--results", type=Path, default=Path("results"), help="paths.results")
    retry.add_argument("--scan", nargs="+", metavar="ID", help="only these; all if not given")
    options = parser.parse_args(arguments)
    try:
        told = try_again(options.results, options.scan)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
