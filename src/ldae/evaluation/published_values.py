"""The paper's published numbers, to stand beside ours."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ldae.files import read_json
from ldae.systems import is_lpips


@cache
def paper_tables() -> dict[str, Any]:
    """Content of ``published_values.json``: values with the table or section they come from."""
    return read_json(Path(__file__).with_name("published_values.json"))


def probe_value(target: str, metric: str, system: str) -> tuple[float, str | None]:
    """The paper's value of a system's score and where it stands; nan and None where none is."""
    probes = paper_tables()["probes"]
    for key, source in (("rows", probes["source"]), ("derived", f"from {probes['source']}")):
        value = probes[key].get(system, {}).get(target, {}).get(metric)
        if value is not None:
            return value, source
    return np.nan, None


def reconstruction_value(system: str, variant: str, steps: int | None, metric: str) -> float:
    """Table 6's value of a system; nan where the paper has none.

    ``lpips_<net>`` is set beside the paper's LPIPS, whose network it does not name; the voxel-space
    DAE's values beside both grids it is measured on (``dae``, ``dae_own_grid``), since the paper
    does not say which is its own.
    """
    system = system.removesuffix("_own_grid")
    name = "lpips" if is_lpips(metric) else metric
    for row in paper_tables()["reconstruction"]["rows"]:
        if (row["system"], row["variant"], row["T"]) == (system, variant, steps):
            return row.get(name, np.nan)
    return np.nan


def cost_value(system: str, quantity: str) -> str | None:
    """What Table 5 (for autoencoder and LDDIM Tables 2 and 3) says of a system, as it is there."""
    return paper_tables()["cost"]["systems"].get(system, {}).get(quantity)


def latent_size(system: str, variant: str) -> int | None:
    """Table 6's number of latent dimensions."""
    return paper_tables()["reconstruction"]["latent_dim"].get(f"{system}/{variant}")
