"""Commands ``ldae resources list | stage | check``: the workflow's external files."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ldae.cli.options import PATH

if TYPE_CHECKING:
    import pandas as pd

INTACT = ("ok", "missing", "present, checksum unknown")


@click.group()
@click.option(
    "--table",
    type=PATH,
    default="config/resources.tsv",
    show_default=True,
    help="Table of the files: where each is from, its SHA-256.",
)
@click.option(
    "--resources",
    "folder",
    type=PATH,
    default="resources",
    show_default=True,
    help="Folder that they are staged into.",
)
@click.option(
    "--config",
    "configs",
    type=PATH,
    multiple=True,
    help="Only what this configuration file needs; repeat it for files that override others.",
)
@click.pass_context
def resources(ctx, table, folder, configs) -> None:
    """List, stage and check the workflow's external files.

    \b
    Examples:
      ldae resources list
      ldae resources --config config/config.yaml stage --mirror /data/mirror
    """
    logging.getLogger().setLevel(logging.INFO)
    ctx.obj = table, folder, configs


def _chosen(table: Path, configs: tuple[Path, ...]) -> tuple["pd.DataFrame", list[str]]:
    """The table of resources, and the names that the configuration files need; else all."""
    from ldae.config import merged, read_configuration
    from ldae.errors import require
    from ldae.resources.table import load_resources, needed

    require(
        table.is_file(),
        f"{table} is not here: call `ldae resources` in the project's folder, or give --table.",
    )
    known = load_resources(table)
    if not configs:
        return known, list(known.index)
    return known, needed(merged(*map(read_configuration, configs)), known)


@resources.command("list")
@click.option("--missing", is_flag=True, help="Only files that must be downloaded.")
@click.option("--tsv", type=PATH, help="Also write the missing ones to this TSV.")
@click.pass_obj
def list_resources(chosen, missing, tsv) -> None:
    """All resources, and whether they are staged."""
    from ldae.files import write_table
    from ldae.resources.staging import missing_table, missing_text

    table, folder, configs = chosen
    known, names = _chosen(table, configs)
    lacking = missing_table(names, known, folder)
    if tsv:
        write_table(lacking, tsv)
    if missing:
        click.echo(missing_text(lacking), nl=False)
        return
    for name in names:
        row = known.loc[name]
        state = "staged" if (Path(folder) / row["path"]).is_file() else "-"
        click.echo("\t".join((name, row["kind"], state, row["path"], row["licence"])))


@resources.command()
@click.argument("names", nargs=-1)
@click.option("--mirror", multiple=True, help="A folder or base URL to try first.")
@click.pass_obj
def stage(chosen, names, mirror) -> None:
    """Download or make files: those NAMED, or what --config needs."""
    from ldae.resources.staging import stage as stage_one

    table, folder, configs = chosen
    if not (names or configs):
        raise click.UsageError(
            "`stage` needs the names of resources, or --config FILE before `stage`."
        )
    known, needed = _chosen(table, configs)
    for name in names or needed:
        stage_one(name, known, folder, list(mirror))


@resources.command()
@click.pass_obj
def check(chosen: tuple[Path, Path, tuple[Path, ...]]) -> int:
    """Verify the staged files; exit status 1 if one is wrong."""
    from ldae.resources.staging import check as state_of

    table, folder, configs = chosen
    known, names = _chosen(table, configs)
    wrong = False
    for name in names:
        state = state_of(name, known, folder)
        wrong |= state not in INTACT
        click.echo(f"{name}\t{state}")
    return int(wrong)
