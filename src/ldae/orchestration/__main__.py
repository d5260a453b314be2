"""Command line to retry failed scans: ``python -m ldae.orchestration retry [--scan ID ...]``."""

import argparse
import sys
from pathlib import Path

from ldae.errors import exit_status
from ldae.orchestration.rerun import reset_failed


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ldae.orchestration", description=__doc__)
    command = parser.add_subparsers(required=True).add_parser(
        "retry", help="reset failed scans and conversions, so that the next run retries them"
    )
    command.add_argument("--results", type=Path, default=Path("results"), help="paths.results")
    command.add_argument(
        "--scan", nargs="+", metavar="ID", help="only these; default: all that failed"
    )
    options = parser.parse_args(arguments)
    return exit_status(lambda: print("\n".join(reset_failed(options.results, options.scan))))


if __name__ == "__main__":
    sys.exit(main())
