"""Values published in the paper, shown beside ours in tables and figures."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ldae.config import cohort_roles
from ldae.files import read_json
from ldae.systems import comparable_with_paper, is_lpips


@cache
def paper_tables() -> dict[str, Any]:
    """Content of ``published_values.json``: values with the table or section they come from."""
    return read_json(Path(__file__).with_name("published_values.json"))


def comparable_systems(config: Mapping[str, Any]) -> list[str]:
    """Systems whose published values can be drawn beside those of a run.

    They are of ADNI's scans on the paper's grid. A run is comparable if its test scans are ADNI's,
    none of them synthetic, in the same voxels; the DAE has a grid of its own.

    Args:
        config: The run's whole configuration.
    """
    grid, cohort, volumes = paper_tables()["grid"], config["cohort"], config["volumes"]
    mixed = "both" in cohort_roles(cohort).values()
    data = cohort["name"] == grid["cohort"] and cohort["study"] is None and not mixed
    made = "synthetic" in config or bool(config["evaluation"]["truth"])
    voxels = volumes["spacing"] == grid["spacing"] and list(volumes["shape"]) == grid["shape"]
    if made or not data or not voxels:
        return []
    dae = ["dae"] if list(config["dae"]["shape"]) == grid["dae_shape"] else []
    return ["autoencoder", "lddim", "ldae", "supervised", *dae]


def probe_value(target: str, metric: str, system: str) -> tuple[float, str | None]:
    """The paper's value of a system's score and its source.

    Returns:
        The value and the table it is from; nan and None where the paper has no value.
    """
    probes = paper_tables()["probes"]
    for key, source in (("rows", probes["source"]), ("derived", f"from {probes['source']}")):
        value = probes[key].get(system, {}).get(target, {}).get(metric)
        if value is not None:
            return value, source
    return np.nan, None


def reconstruction_value(system: str, variant: str, steps: int | None, metric: str) -> float:
    """Table 6's value of a system; nan where the paper has none.

    LPIPS has the paper's value only with the network, planes and scaling of the authors' code
    (:func:`ldae.systems.comparable_with_paper`). The voxel-space DAE is measured on two grids here
    (``dae``, ``dae_own_grid``). Both get the paper's value, because the paper does not say which
    grid it uses.
    """
    system = system.removesuffix("_own_grid")
    if not comparable_with_paper(metric):
        return np.nan
    name = "lpips" if is_lpips(metric) else metric
    for row in paper_tables()["reconstruction"]["rows"]:
        if (row["system"], row["variant"], row["T"]) == (system, variant, steps):
            return row.get(name, np.nan)
    return np.nan


def cost_value(system: str, quantity: str) -> str | None:
    """Table 5's entry for a system, verbatim; None where there is none.

    Entries of the autoencoder and of LDDIM are from Tables 2 and 3, their parameters from Table 6.
    """
    return paper_tables()["cost"]["systems"].get(system, {}).get(quantity)


def latent_size(system: str, variant: str) -> int | None:
    """Table 6's number of latent dimensions of a system's variant; None where there is none."""
    return paper_tables()["reconstruction"]["latent_dim"].get(f"{system}/{variant}")
