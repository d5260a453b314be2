"""Exceptions from dependency tracking: modules and settings that results do not depend on."""

from dataclasses import dataclass
from typing import Any

# Modules that read, write, log, lock, validate and fit batches to a GPU. An edit there must not
# retrain a model.
MODULES = frozenset(
    {
        "",
        "config",
        "dependencies",
        "errors",
        "files",
        "fingerprint",
        "inference.memory",
        "locks",
        "models.card",
        "models.training_scans",
        "nets.memory",
        "orchestration.previous_run",
        "progress",
        "source_graph",
        "training.distributed.slurm",
    }
)

AS_TRAINED = object()


@dataclass(frozen=True)
class Key:
    """A key of a training's section that is exempt from some checks of dependencies.

    Attributes:
        keeps_model: A finished model is not trained again for another value.
        continues: An interrupted training resumes with another value.
        rounds: The value changes rounding. A training that has diverged may be tried again with
            another value.
        names_file: The model depends on the content of the file, not on its path.
        restored: Value for a network that is restored from a trained model; ``AS_TRAINED``: the
            value of its training.
    """

    keeps_model: bool = False
    continues: bool = False
    rounds: bool = False
    names_file: bool = False
    restored: Any = AS_TRAINED


TRAINING_KEYS = {
    # how a training runs and is monitored, and how its model is tested
    "processes": Key(keeps_model=True, continues=True),
    "workers": Key(keeps_model=True, continues=True),
    "checkpointing": Key(keeps_model=True, continues=True, restored=False),
    "compile": Key(keeps_model=True, continues=True, restored=False),
    "sample_every": Key(keeps_model=True, continues=True),
    "sample_steps": Key(keeps_model=True, continues=True),
    "probe_scans": Key(keeps_model=True, continues=True),
    "test_scans": Key(keeps_model=True, continues=True),
    "precision": Key(keeps_model=True, continues=True, rounds=True),
    # length of the training, and size of a forward pass
    "epochs": Key(continues=True),
    "micro_batch": Key(continues=True),
    "validate_every": Key(continues=True),
    # initial weights
    "pretrained": Key(names_file=True, restored=None),
    "weights": Key(names_file=True),
}

# Keys of a preprocessing step that training records leave out: the folder of the weights, and the
# overlap below which an affine is estimated again. Changed scans are detected in the scans.
PREPROCESS_KEYS = ("weights", "retry_below")


def with_flag(flag: str) -> frozenset[str]:
    """Keys of :data:`TRAINING_KEYS` for which the attribute ``flag`` of :class:`Key` is true."""
    return frozenset(name for name, key in TRAINING_KEYS.items() if getattr(key, flag))


def as_restored(architecture: dict[str, Any]) -> dict[str, Any]:
    """Architecture of a restored network: without what only its training needs.

    The network is not compiled, not checkpointed and not initialised from pretrained weights.
    """
    restored = {name: key.restored for name, key in TRAINING_KEYS.items()}
    return architecture | {
        name: value for name, value in restored.items() if value is not AS_TRAINED
    }
