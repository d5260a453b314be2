"""Command line of the external files: list, stage and check them."""

import argparse
import logging
import sys
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from ldae.errors import UserError, exit_status
from ldae.files import write_table
from ldae.resources.staging import check, missing_table, missing_text, stage
from ldae.resources.table import load_resources, needed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 1 after a user's error or a failed check."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_status(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ldae.resources", description="List, stage and check external files."
    )
    parser.add_argument("--table", default="config/resources.tsv")
    parser.add_argument("--resources", default="resources", help="folder to stage into")
    parser.add_argument(
        "--config",
        action="append",
        type=Path,
        help="only what this configuration file needs; repeat it for files that override others",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listed = commands.add_parser("list", help="all resources and whether they are staged")
    listed.add_argument("--missing", action="store_true", help="only files that must be downloaded")
    listed.add_argument("--tsv", type=Path, help="also write the missing ones to this TSV")
    commands.add_parser("check", help="verify the staged files; exit 1 if one is wrong")
    staged = commands.add_parser("stage", help="download or make files")
    staged.add_argument("names", nargs="*", help="default: what --config needs")
    staged.add_argument(
        "--mirror", action="append", default=[], help="a folder or base URL to try first"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    resources = load_resources(options.table)
    names = list(resources.index)
    if options.config:
        parts = [yaml.safe_load(path.read_text()) for path in options.config]
        names = needed(reduce(_overlaid, parts), resources)
    if options.command == "stage":
        if not (options.names or options.config):
            raise UserError(
                "`stage` needs the names of resources, or --config FILE before `stage`."
            )
        for name in options.names or names:
            stage(name, resources, options.resources, options.mirror)
        return 0
    if options.command == "list":
        missing = missing_table(names, resources, options.resources)
        if options.tsv:
            write_table(missing, options.tsv)
        if options.missing:
            print(missing_text(missing), end="")
            return 0
    wrong = False
    for name in names:
        row = resources.loc[name]
        if options.command == "list":
            state = "staged" if (Path(options.resources) / row["path"]).is_file() else "-"
            print(name, row["kind"], state, row["path"], row["licence"], sep="\t")
        else:
            state = check(name, resources, options.resources)
            wrong |= state not in ("ok", "missing", "present, checksum unknown")
            print(name, state, sep="\t")
    return int(wrong)


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with the values of ``above`` merged over it key by key, as the workflow does."""
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            both[key] = _overlaid(below[key], above[key])
    return both


if __name__ == "__main__":
    sys.exit(main())
