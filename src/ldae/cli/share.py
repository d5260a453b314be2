"""Command ``ldae share``: trained models as a folder for others, or on a model hub."""

import json
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ldae.cli.options import PATH
from ldae.errors import UserError, require

if TYPE_CHECKING:
    from ldae.application.bundle import Bundle
    from ldae.application.sharing import Terms

HUB = "hub:"
APACHE = "apache-2.0"


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--to",
    "where",
    required=True,
    metavar="FOLDER|hub:ORG/NAME",
    help="written: a folder, or a repository of the model hub (HF_TOKEN, HF_ENDPOINT).",
)
@click.option("--name", help="Of the model, in its card; else that of FOLDER or NAME.")
@click.option(
    "--licence",
    metavar="ID",
    help="Licence of the weights, an SPDX identifier or `other`. "
    f"Default for models of synthetic brains: {APACHE}; others need one.",
)
@click.option("--licence-file", type=PATH, help=f"Its text; needed for every licence but {APACHE}.")
@click.option("--public", is_flag=True, help="Everybody may read a new repository of the hub.")
def share(run, where, name, licence, licence_file, public) -> None:
    """Write trained models as a model hub and MONAI's model zoo expect them.

    RUN is the results folder of a finished run, or a folder of models. No list of scans and no
    person's row is written. Models trained on people's scans need a licence that the terms of these
    data allow.

    \b
    Examples:
      ldae share results --to shared/my-model
      ldae share results --to hub:my-lab/my-model --licence other --licence-file TERMS.txt
    """
    from ldae.application.bundle import CARD, Bundle
    from ldae.application.sharing import share as write_shared

    require(
        any((run / place / "application" / CARD).is_file() for place in (".", "models")),
        f"{run} has no trained models: name the results folder of a finished run, or its folder of "
        "models.",
    )
    bundle = Bundle.load(run, "cpu", 1)
    terms = _terms(bundle, licence, licence_file)
    if not where.startswith(HUB):
        files = write_shared(bundle, where, name or Path(where).name, terms)
        click.echo(json.dumps({"written": where, "model": where, "files": files}, indent=2))
        return
    from ldae.resources.hub import require_repository, upload_folder

    repository = require_repository(where.removeprefix(HUB))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "shared"
        title = name or repository.partition("/")[2]
        files = write_shared(bundle, out, title, terms, repository)
        commit = upload_folder(out, repository, public, "Models of ldae-workflow")
    shown = {"written": where, "model": f"{repository}@{commit}", "files": files}
    click.echo(json.dumps(shown, indent=2))


def _terms(bundle: "Bundle", licence: str | None, file: Path | None) -> "Terms":
    """Licence of the weights.

    Raises:
        UserError: none is given, or its text is missing.
    """
    from ldae.application.sharing import Terms

    if licence is None:
        require(
            bundle.settings["synthetic"],
            "These models were trained on scans of people: give --licence and --licence-file with "
            "terms that the agreement on these data allows.",
        )
        licence = APACHE
    if file is not None:
        require(file.is_file(), f"--licence-file {file} does not exist.")
        return Terms(licence.lower(), file.read_text(encoding="utf-8"))
    require(
        licence.lower() == APACHE,
        f"--licence {licence} needs its text: give --licence-file.",
    )
    return Terms(APACHE, _apache())


def _apache() -> str:
    """Text of the Apache License 2.0, which this package has itself."""
    found = distribution("ldae-workflow").read_text("licenses/LICENSE")
    clone = Path(__file__).parents[3] / "LICENSE"
    if found is None and clone.is_file():  # installed from a clone, which has it at its top
        found = clone.read_text(encoding="utf-8")
    if found is None:
        raise UserError("The package's LICENSE is missing: give --licence-file, or install again.")
    return found
