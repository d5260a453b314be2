"""Table of external files, and the selection of those that a configuration needs."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.derivatives import Shards
from ldae.errors import require
from ldae.files import read_table
from ldae.resources.hub import HubFile

COLUMNS = ("name", "path", "kind", "source", "checksum", "bytes", "licence", "used_by", "note")
UNKNOWN = "unknown"
KINDS = ("url", "hub", "package", "manual")


def load_resources(table: str | Path) -> pd.DataFrame:
    """The table of resources (columns ``COLUMNS``), indexed by name; empty fields are "".

    Raises:
        UserError: the table does not exist or lacks a column, a kind is unknown, or a file of a
            hub has no pinned commit or no SHA-256.
    """
    resources = read_table(table, COLUMNS).set_index("name", drop=False).astype(object).fillna("")
    for name, row in resources.iterrows():
        require(
            row["kind"] in KINDS,
            f"{table}: {name} is of the kind {row['kind']!r}; known: {', '.join(KINDS)}.",
        )
        if row["kind"] == "hub":
            hub_files(row)
            require(
                row["checksum"].startswith("sha256:"),
                f"{table}: {name} comes from a hub and needs its checksum, sha256:...",
            )
    return resources


def hub_files(row: Mapping[str, Any]) -> list[HubFile]:
    """Files of a hub that a row names, in the order to try them.

    Raises:
        UserError: the source of the row names none.
    """
    return [HubFile.parse(text) for text in row["source"].split()]


def needed(config: Mapping[str, Any], resources: pd.DataFrame) -> list[str]:
    """Names of the resources whose path, or a folder above it, ``config`` names; in table order.

    A path set to null, or to a user's own file outside the table, needs no staging. Neither do
    files that the run does not read (:func:`in_use`).
    """
    root = Path(config["paths"]["resources"])
    sections = in_use(config)
    del sections["paths"]
    paths = {Path(value) for value in _texts(sections)}
    return [
        name
        for name, row in resources.iterrows()
        if any(path in paths for path in (root / row["path"], *(root / row["path"]).parents))
    ]


def in_use(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the configuration with None for the files that its run does not read.

    These are:

    - the weights of the brain extraction, if its method is not antspynet or all scans come
      preprocessed;
    - the weights of the perceptual loss, if it is off;
    - all files of the sections ``autoencoder`` and ``ldae``, if published models replace their
      trainings. ``ldae`` is kept for baselines, which start from the encoder's weights.
    """
    sections = copy.deepcopy(dict(config))
    extraction = sections["preprocess"]["brain_extraction"]
    if extraction["method"] != "antspynet" or not Shards.of(sections["cohort"], 1).raw:
        extraction["weights"] = None
    if sections["autoencoder"]["perceptual"]["net"] is None:
        sections["autoencoder"]["perceptual"]["weights"] = None
    if any(sections["published"].values()):
        sections["autoencoder"] = None
        if not sections["baselines"]:
            sections["ldae"] = None
    return sections


def _texts(value: Any) -> Iterator[str]:
    """All strings in a nested configuration of mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
