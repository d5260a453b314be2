"""Command ``ldae verify``: stores after they were copied to another disk."""

import click

from ldae.cli.options import PATH


@click.command()
@click.argument("folders", nargs=-1, required=True, type=PATH)
def verify(folders) -> None:
    """Read every array of stores and compare it with its checksum.

    \b
    Example:
      ldae verify results/cache/volumes results/cache/latents
    """
    from ldae.data.scratch import KINDS
    from ldae.data.store import CARD
    from ldae.errors import require
    from ldae.files import read_json

    for folder in folders:
        require((folder / CARD).is_file(), f"There is no finished store in {folder}.")
        store = KINDS[read_json(folder / CARD)["kind"]](folder)
        store.verify()
        click.echo(
            f"{folder}: {len(store)} {store.made_by} are intact, content hash {store.content_hash}"
        )
