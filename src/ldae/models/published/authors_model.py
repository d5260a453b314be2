"""Published model of the authors: its configuration, and the files of it that a user has.

Imports no torch, for the workflow needs it before any job. :mod:`ldae.models.published.convert`
converts the files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldae.errors import require

# Files that the authors publish; a checkpoint of their third stage holds all of them.
PARTS = ("autoencoder", "encoder", "decoder")
LATENT_SCALE = 0.8730
# The authors' configuration, in the names of our config.
ARCHITECTURE: dict[str, dict[str, Any]] = {
    "autoencoder": {
        "channels": [64, 128, 128, 128],
        "num_res_blocks": 2,
        "latent_channels": 3,
        "norm_num_groups": 32,
    },
    "ldm": {
        "base_channels": 256,
        "channel_mult": [1, 2, 3],
        "num_res_blocks": 2,
        "attention_factors": [2, 4],
        "num_heads": 1,
        "dropout": 0.1,
        "norm_num_groups": 32,
        "resample": "inner_axes",
    },
    "encoder": {
        "backbone": "convnext_small",
        "backbone_kwargs": {},
        "plane": "axial",
        "num_heads": 8,
        "attention_dropout": 0.1,
        "projections": True,
        "layer_norm": "output",
        "position": "sinusoidal",
        "position_dropout": 0.1,
        "standardize": False,
    },
    "diffusion": {"timesteps": 1000, "beta_start": 1e-4, "beta_end": 2e-2, "gamma": 0.1},
}
FLAG = "weights published by the authors, converted: not trained by this workflow"
UNKNOWN_TRAINING_SCANS = (
    "which subjects the authors trained on is not known: your test subjects may be among them, and "
    "scores on them may be too good"
)


def published_files(given: Mapping[str, Any], key: str = "published.{}") -> dict[str, str | Path]:
    """The file of each of :data:`PARTS`; empty where none is given.

    Args:
        given: Paths or None by name: the parts, and ``ldae``, a checkpoint of the authors' third
            stage, which replaces the parts that are not given.
        key: Format of their names in messages: the config key or the option.

    Raises:
        UserError: some parts are given, others not.
    """
    files = {part: given.get(part) or given.get("ldae") for part in PARTS}
    if not any(files.values()):
        return {}
    lacking = [key.format(part) for part in PARTS if not files[part]]
    require(
        not lacking,
        f"The published weights are incomplete: {' and '.join(lacking)} must be given as well. "
        f"In place of all three, {key.format('ldae')} may name a checkpoint of the authors' third "
        "stage.",
    )
    return files
