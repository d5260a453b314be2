"""``python -m ldae.cohort prepare``: check a download before Clinica converts it."""

import argparse
import sys
from pathlib import Path

from ldae.cohort.convert import prepare
from ldae.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ldae.cohort", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "prepare", help="check images and study tables, write the list of subjects for Clinica"
    )
    command.add_argument("--images", type=Path, required=True, help="one folder a subject")
    command.add_argument("--tables", type=Path, required=True, help="ADNI's study tables (CSV)")
    command.add_argument("--subjects-file", type=Path, required=True, help="written: PTIDs")
    options = parser.parse_args(arguments)
    try:
        subjects = prepare(options.images, options.tables, options.subjects_file)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(subjects)} subjects are ready for conversion.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
