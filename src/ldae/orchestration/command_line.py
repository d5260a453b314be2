"""Snakemake's command line: targets that do not exist, profiles whose configuration was dropped."""

import difflib
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ldae.config import read_configuration
from ldae.errors import UserError
from ldae.labels import listing

# Targets that a person gives, in the order of a run.
MAIN_TARGETS = (
    "check",
    "resources",
    "bids",
    "cohort",
    "preprocess",
    "autoencoder",
    "latents",
    "ldm",
    "ldae",
    "embeddings",
    "evaluate",
    "figures",
    "report",
)


def given_arguments() -> Namespace | None:
    """Arguments of this Snakemake as a person gave them; None in its jobs and in other programs."""
    program = Path(sys.argv[0])
    if "snakemake" not in (program.name, program.parent.name):
        return None
    from snakemake.cli import get_argument_parser
    from snakemake_interface_executor_plugins.settings import ExecMode

    arguments, _ = get_argument_parser().parse_known_args(sys.argv[1:])
    return arguments if arguments.mode == ExecMode.DEFAULT else None


def require_targets(targets: Iterable[str], rules: Iterable[str]) -> None:
    """Refuse a target that is neither a rule nor a path.

    Args:
        targets: What was asked for.
        rules: Names of all rules.

    Raises:
        UserError: there is no such rule; the message names the closest one.
    """
    names = list(rules)
    for target in sorted(targets):
        if target in names or "/" in target or "." in target:
            continue
        close = difflib.get_close_matches(target, names, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Stages: {listing(list(MAIN_TARGETS))}."
        raise UserError(f"There is no target {target}. {hint}")


def require_profile_configuration(
    profiles: Iterable[str], given: Iterable[Path], config: Mapping[str, Any]
) -> None:
    """Refuse ``--configfile`` that replaces a profile's configuration by one that lacks its part.

    Snakemake reads ``--configfile`` in place of the profile's ``configfile``, not on top of it.

    Args:
        profiles: Folders given by ``--profile``.
        given: Configuration files that Snakemake reads.
        config: The whole configuration.

    Raises:
        UserError: a section of a profile's configuration is missing, and none of its files is read.
    """
    read = {file.resolve() for file in given}
    for folder in map(Path, profiles):
        if not (folder / "config.yaml").is_file():
            continue
        stated = read_configuration(folder / "config.yaml").get("configfile", [])
        files = [stated] if isinstance(stated, str) else stated
        paths = [_place(folder, file, isinstance(stated, str)) for file in files]
        if read & {path.resolve() for path in paths}:
            continue
        there = [path for path in paths if path.is_file()]
        missing = {key for path in there for key in read_configuration(path)} - config.keys()
        if missing:
            raise UserError(
                f"--configfile replaces {listing(files)} of the profile {folder}, and "
                f"{listing(sorted(missing))} of it is missing. Name both: --configfile "
                f"{' '.join(files)} and yours."
            )


def _place(folder: Path, file: str, alone: bool) -> Path:
    """Where Snakemake looks for a profile's configuration file; ``alone``: also beside it."""
    beside = folder / Path(os.path.expandvars(file)).expanduser()
    return beside if alone and beside.exists() else Path(file)
