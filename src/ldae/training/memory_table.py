"""Table of the memory that trainings need, as `benchmarks/memory.py --write` computes it.

It holds the configurations that the project ships for the paper's size. What is not in it is
computed on the spot, by the same function: seconds, or with ``checkpointing`` up to two minutes.
"""

import json
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ldae.config import section_name
from ldae.files import digest
from ldae.training.memory import Upstream, training_memory
from ldae.training.network_keys import relevant

TABLE = Path(__file__).with_name("memory_table.json")
log = logging.getLogger(__name__)


def table_key(stage: str, section: Mapping[str, Any], upstream: Upstream, precision: str) -> str:
    """Digest of all that a step's memory depends on, but for micro-batch and checkpointing."""
    name = section_name(stage)
    used = {"shape": list(upstream.shape)} if name != "dae" else {}
    if name in ("ldm", "ldae"):
        used["autoencoder"] = relevant(upstream.autoencoder)
    if name == "ldae":
        used["ldm"] = relevant(upstream.ldm)
    width = 4 if precision == "fp32" else 2
    return digest({"stage": name, "section": relevant(section), "bytes": width, **used})


def needed_bytes(
    stage: str,
    section: Mapping[str, Any],
    upstream: Upstream,
    precision: str,
    micro_batch: int,
    checkpointing: bool,
) -> int:
    """Bytes that a training needs at its peak: from the table, or else computed.

    Args:
        stage, section, upstream, precision: See :func:`ldae.training.memory.training_memory`.
        micro_batch, checkpointing: In place of the section's.
    """
    key = table_key(stage, section, upstream, precision)
    known = rows().get((key, micro_batch, checkpointing))
    if known is not None:
        return known
    log.info(
        "%s: memory of micro_batch %d%s is not in the table and is computed; this may take up to "
        "two minutes.",
        stage,
        micro_batch,
        " with checkpointing" if checkpointing else "",
    )
    changed = {**section, "micro_batch": micro_batch, "checkpointing": checkpointing}
    return training_memory(stage, changed, upstream, precision)[0]


@cache
def rows() -> dict[tuple[str, int, bool], int]:
    """Bytes by key, micro-batch and checkpointing."""
    content = json.loads(TABLE.read_text())
    return {
        (row["key"], row["micro_batch"], row["checkpointing"]): row["bytes"]
        for row in content["rows"]
    }
