"""The paper's published numbers, to stand beside ours."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ldae.files import read_json


@cache
def paper_tables() -> dict[str, Any]:
    """Content of ``paper_tables.json``: values with the table or section they come from."""
    return read_json(Path(__file__).with_name("paper_tables.json"))


def probe_value(target: str, metric: str) -> tuple[float, str | None]:
    """The paper's LDAE value of a probe's score and where it stands; nan and None where none is."""
    probes = paper_tables()["probes"]
    for key, source in (("rows", probes["source"]), ("derived", f"from {probes['source']}")):
        value = probes[key].get(target, {}).get(metric)
        if value is not None:
            return value, source
    return np.nan, None


def reconstruction_value(system: str, variant: str, steps: int | None, metric: str) -> float:
    """Table 6's value of a system; nan where the paper has none.

    ``lpips_<net>`` is set beside the paper's LPIPS, whose network it does not name.
    """
    name = "lpips" if metric.startswith("lpips_") else metric
    for row in paper_tables()["reconstruction"]["rows"]:
        if (row["system"], row["variant"], row["T"]) == (system, variant, steps):
            return row.get(name, np.nan)
    return np.nan
