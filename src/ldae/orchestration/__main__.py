"""Retry failed scans by hand: ``python -m ldae.orchestration retry [--scan ID ...]``."""

import argparse
import sys
from pathlib import Path

from ldae.errors import exit_status
from ldae.orchestration.rerun import retry


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ldae.orchestration", description=__doc__)
    command = parser.add_subparsers(required=True).add_parser(
        "retry", help="let failed scans and conversions be tried again by the next run"
    )
    command.add_argument("--results", type=Path, default=Path("results"), help="paths.results")
    command.add_argument("--scan", nargs="+", metavar="ID", help="only these; all if not given")
    options = parser.parse_args(arguments)
    return exit_status(lambda: print("\n".join(retry(options.results, options.scan))))


if __name__ == "__main__":
    sys.exit(main())
