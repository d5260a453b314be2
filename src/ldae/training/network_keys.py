"""Keys of a training's section: those that shape its networks or a step's memory, and others."""

from collections.abc import Mapping
from typing import Any

from ldae.config import slice_branch

# Keys that shape neither the networks nor the memory of a step.
OF_TRAINING = frozenset(
    {
        "age_loss",
        "augmentation",
        "batch_size",
        "checkpointing",
        "clamp",
        "class_weights",
        "compile",
        "decay",
        "ema_decay",
        "encoder_learning_rate",
        "epochs",
        "grad_clip",
        "head_learning_rate",
        "kl_weight",
        "learning_rate",
        "micro_batch",
        "noise",
        "people",
        "precision",
        "pretrained",
        "probe_scans",
        "processes",
        "sample_every",
        "sample_steps",
        "selection",
        "skip_empty_slices",  # in memory no slice may be empty
        "start",
        "steps",
        "test_scans",
        "trainable",
        "validate_every",
        "validate_scans",
        "validate_steps",
        "workers",
    }
)
# Further keys that change no byte of a step; classes are outputs of one linear layer.
IRRELEVANT = OF_TRAINING | {"activation", "classes", "resize", "weights"}


def relevant(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section without :data:`IRRELEVANT` keys, at any depth."""
    if section.get("kind") == "slices":
        section = slice_branch(section)
    return {
        key: relevant(value) if isinstance(value, Mapping) else value
        for key, value in section.items()
        if key not in IRRELEVANT
    }
