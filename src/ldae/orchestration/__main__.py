"""Command line: retry failed scans, record the times of a run.

python -m ldae.orchestration retry [--scan ID ...]
python -m ldae.orchestration times
"""

import argparse
import sys
from pathlib import Path

from ldae.errors import exit_status
from ldae.orchestration.rerun import reset_failed
from ldae.orchestration.run_times import record_times

TIMES = Path("profiles/demo/times.tsv")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ldae.orchestration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    folder = {"type": Path, "default": Path("results"), "help": "paths.results"}

    retry = commands.add_parser(
        "retry", help="reset failed scans and conversions, so that the next run retries them"
    )
    retry.add_argument("--results", **folder)
    retry.add_argument(
        "--scan", nargs="+", metavar="ID", help="only these; default: all that failed"
    )
    retry.set_defaults(run=lambda given: reset_failed(given.results, given.scan))

    times = commands.add_parser(
        "times", help="write the seconds of each rule's jobs in a finished run to a table"
    )
    times.add_argument("--results", **folder)
    times.add_argument("--out", type=Path, default=TIMES, help=f"default: {TIMES}")
    times.set_defaults(run=lambda given: record_times(given.results, given.out))

    options = parser.parse_args(arguments)
    return exit_status(lambda: print("\n".join(options.run(options))))


if __name__ == "__main__":
    sys.exit(main())
