"""Command line ``python -m ldae.conversion check``: checks a download before its conversion."""

import argparse
import sys
from pathlib import Path

from ldae.conversion.clinica_tables import read_clinica_tables
from ldae.conversion.downloaded_scans import (
    CLINICA,
    by_reason,
    choose_downloaded,
    mark_passed_over,
    write_choice,
)
from ldae.conversion.plan import plan_conversion
from ldae.conversion.prepare_tables import prepare_tables
from ldae.errors import exit_status
from ldae.files import write_table


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ldae.conversion", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="check study tables and every image of a download")
    command.add_argument("--images", type=Path, required=True, help="ADNI's images, unpacked")
    command.add_argument("--tables", type=Path, required=True, help="ADNI's study tables (CSV)")
    command.add_argument("--out", type=Path, required=True, help="folder to write the findings to")
    command.add_argument("--jobs", type=int, default=1, help="parallel processes (default: 1)")
    options = parser.parse_args(arguments)
    return exit_status(lambda: _check(options.images, options.tables, options.out, options.jobs))


def _check(images: Path, tables: Path, out: Path, jobs: int) -> None:
    prepare_tables(tables, out / "tables", out / "tables.tsv", out / "held_back.tsv")
    index = plan_conversion(images, out / "tables", out / "held_back.tsv", 1, jobs)
    choice = choose_downloaded(index, read_clinica_tables(out / "tables"), CLINICA)
    index = mark_passed_over(index, choice.passed_over)
    write_table(index, out / "images.tsv")
    write_choice(choice, out / "images_to_download.tsv", out / "passed_over.tsv")
    counts = index["status"].fillna("may be converted").value_counts()
    print(f"{len(index)} images, listed in {out / 'images.tsv'}:")
    for status, number in counts.items():
        print(f"{number:8d}  {status}")
    taken = choice.visits["taken"].notna().sum()
    print(f"{len(choice.visits)} visits, of which {taken} will be converted")
    for reason, visits in by_reason(choice.visits).items():
        print(f"{len(visits):8d}  {reason}: see {out / 'images_to_download.tsv'}")


if __name__ == "__main__":
    sys.exit(main())
