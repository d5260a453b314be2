"""Command ``ldae config``: the configuration of a run, merged and checked."""

from pathlib import Path

import click
import yaml

from ldae.cli.options import PATH

DEFAULTS = Path("config/config.yaml")
SCHEMA = Path("workflow/schemas/config.schema.yaml")


@click.command()
@click.argument("files", nargs=-1, type=PATH)
@click.option("--key", help="Only this key, such as evaluation.manipulation.")
def config(files, key) -> None:
    """Print the configuration as YAML: config/config.yaml with FILES on top, as `snakemake
    --configfile FILES` merges them. It is checked as at the start of a run.

    \b
    Examples:
      ldae config config/demo.yaml
      ldae config config/demo.yaml --key ldae.encoder
    """
    from ldae.config import check_config, merged, read_configuration
    from ldae.errors import require

    require(
        DEFAULTS.is_file() and SCHEMA.is_file(),
        f"{DEFAULTS} and {SCHEMA} are not here: call `ldae config` in the project's folder.",
    )
    content = merged(*map(read_configuration, (DEFAULTS, *files)))
    check_config(content, SCHEMA)
    for name in key.split(".") if key else ():
        require(
            isinstance(content, dict) and name in content,
            f"The configuration has no key {key}: there is no {name} in it.",
        )
        content = content[name]
    click.echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), nl=False)
