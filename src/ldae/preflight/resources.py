"""Check of resources: weights, templates, and the user's own files that the configuration names."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.errors import UserError
from ldae.preflight.report import ERROR, OK, Finding
from ldae.preflight.run_facts import Facts
from ldae.resources.staging import check
from ldae.resources.table import in_use, load_resources, needed

TOPIC = "resources"
TABLE = "config/resources.tsv"
# Keys of the configuration that name an input file.
KEYS = (
    "cohort.exclude",
    "cohort.splits.given",
    "preprocess.template.image",
    "preprocess.template.mask",
    "evaluation.lpips.weights",
    "ldae.encoder.pretrained",
    "autoencoder.pretrained",
    "autoencoder.perceptual.weights",
)
STAGE = (
    "With internet: snakemake --cores 1 resources. Else `snakemake --cores 1 resources_list` lists "
    "what to download elsewhere"
)


def check_resources(facts: Facts) -> list[Finding]:
    """Findings about every file that this configuration needs."""
    table = load_resources(facts.root / TABLE)
    folder, names = facts.path("resources"), needed(facts.config, table)
    contained = facts.container is not None
    found = [_staged(name, table, folder, contained) for name in names]
    staged = {folder / table.loc[name, "path"] for name in table.index}
    staged |= {place for path in staged for place in path.parents}
    for key, value in _files(facts.config):
        path = facts.root / value
        if path not in staged and not path.is_file():
            text = f"{key}: the file {value} does not exist"
            found.append(Finding(ERROR, TOPIC, text, f"Set {key} to a file, or to null."))
    return found


def _staged(name: str, table: pd.DataFrame, folder: Path, contained: bool) -> Finding:
    row = table.loc[name]
    path = folder / row["path"]
    if contained and row["kind"] == "package":  # installed in the container alone
        state = "" if path.is_file() else " will be made in the container"
        return Finding(OK, TOPIC, f"{name}: {path}{state}")
    try:
        state = check(name, table, folder)
    except UserError as error:
        return Finding(ERROR, TOPIC, f"{name}: {error}", "Install the environment again: make env")
    if state == "ok":
        return Finding(OK, TOPIC, f"{name}: {path}")
    if state.startswith("present"):
        return Finding(OK, TOPIC, f"{name}: {path} ({state})")
    if state != "missing":
        return Finding(ERROR, TOPIC, f"{name}: {path}: {state}", f"Delete it. {STAGE}")
    if row["kind"] == "package":
        return Finding(OK, TOPIC, f"{name}: will be made of an installed package")
    if row["kind"] == "manual":
        return Finding(ERROR, TOPIC, f"{name}: {path} is missing, and is made by hand", row["note"])
    return Finding(ERROR, TOPIC, f"{name}: {path} is missing", STAGE)


def _files(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys of the configuration that name an input file, and that file; null ones are left out."""
    sections = in_use(config)
    encoders = config["evaluation"]["external_encoders"]
    more = (
        *(f"published.{part}" for part in config["published"]),
        *(f"evaluation.external_encoders.{name}.path" for name in encoders),
    )
    for key in (*KEYS, *more):
        value: Any = sections
        for name in key.split("."):
            value = value and value[name]
        for file in value if isinstance(value, list) else [value]:
            if file:
                yield key, str(file)
