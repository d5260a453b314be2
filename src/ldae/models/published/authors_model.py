"""What is known of the model that the authors published, and which files of it a user has.

Light to import: the workflow asks before any job (:mod:`ldae.models.published.convert` converts
the files).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldae.errors import require

# Files that the authors give; a checkpoint of their third stage holds all of them.
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
    """The file of each of :data:`PARTS`, or nothing where none is given.

    Args:
        given: Paths or None by name: the parts, and ``ldae``, a checkpoint of the authors' third
            stage, which stands for the parts that are not given.
        key: What the user knows them as.

    Raises:
        UserError: some parts are given, others not.
    """
    files = {part: given.get(part) or given.get("ldae") for part in PARTS}
    if not any(files.values()):
        return {}
    lacking = [key.format(part) for part in PARTS if not files[part]]
    require(
        not lacking,
        f"Of the published weights {' and '.join(lacking)} must be given as well: three files, or "
        f"{key.format('ldae')}, a checkpoint of the authors' third stage, which holds them all.",
    )
    return files
