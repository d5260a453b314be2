"""Keys of a training's section that shape its networks and its step, and those that do not."""

from collections.abc import Mapping
from typing import Any

# Keys of a training's section that change no byte of a step.
IRRELEVANT = frozenset(
    {
        "micro_batch",  # these two are columns of the table
        "checkpointing",
        "activation",
        "age_loss",
        "batch_size",
        "clamp",
        "class_weights",
        "classes",  # outputs of one linear layer
        "compile",
        "decay",
        "ema_decay",
        "encoder_learning_rate",
        "epochs",
        "grad_clip",
        "kl_weight",
        "learning_rate",
        "noise",
        "precision",
        "pretrained",
        "probe_scans",
        "processes",
        "resize",
        "sample_every",
        "sample_steps",
        "selection",
        "skip_empty_slices",  # no slice may be empty
        "steps",
        "test_scans",
        "validate_every",
        "validate_scans",
        "validate_steps",
        "weights",
        "workers",
    }
)


def relevant(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section without :data:`IRRELEVANT` keys, at any depth."""
    return {
        key: relevant(value) if isinstance(value, Mapping) else value
        for key, value in section.items()
        if key not in IRRELEVANT
    }
