"""What results do not depend on, in one table: parts of the source, keys of the configuration."""

from dataclasses import dataclass
from typing import Any

# Modules that read, write, log, lock and refuse. An edit there must not retrain a model.
MODULES = frozenset(
    {
        "",
        "config",
        "dependencies",
        "errors",
        "files",
        "fingerprint",
        "locks",
        "models.card",
        "models.training_scans",
        "orchestration.previous_run",
        "progress",
        "source_graph",
        "training.distributed.slurm",
    }
)

AS_TRAINED = object()


@dataclass(frozen=True)
class Key:
    """A key of a training's section on which its model depends less than on the others.

    Attributes:
        keeps_model: A finished model is not trained anew for another value.
        continues: An interrupted training goes on with another value.
        rounds: It changes rounding: what has diverged may be tried again with another value.
        names_file: The content of the file counts, not its path.
        restored: Value in a network that is restored from its model.
    """

    keeps_model: bool = False
    continues: bool = False
    rounds: bool = False
    names_file: bool = False
    restored: Any = AS_TRAINED


TRAINING_KEYS = {
    # how a training runs and is watched, and how its model is tested
    "processes": Key(keeps_model=True, continues=True),
    "workers": Key(keeps_model=True, continues=True),
    "checkpointing": Key(keeps_model=True, continues=True, restored=False),
    "compile": Key(keeps_model=True, continues=True, restored=False),
    "sample_every": Key(keeps_model=True, continues=True),
    "sample_steps": Key(keeps_model=True, continues=True),
    "probe_scans": Key(keeps_model=True, continues=True),
    "test_scans": Key(keeps_model=True, continues=True),
    "precision": Key(keeps_model=True, continues=True, rounds=True),
    # how long it trains, and in what pieces
    "epochs": Key(continues=True),
    "micro_batch": Key(continues=True),
    "validate_every": Key(continues=True),
    # what it begins from
    "pretrained": Key(names_file=True, restored=None),
    "weights": Key(names_file=True),
}

# Keys of a step of the preprocessing that change no scan: where weights lie, and from which overlap
# on an affine is not tried again.
PREPROCESS_KEYS = ("weights", "retry_below")


def with_flag(flag: str) -> frozenset[str]:
    """Keys of :data:`TRAINING_KEYS` that have one of the flags of :class:`Key`."""
    return frozenset(name for name, key in TRAINING_KEYS.items() if getattr(key, flag))


def as_restored(architecture: dict[str, Any]) -> dict[str, Any]:
    """An architecture without what is of training alone: compiled, pretrained once more."""
    restored = {name: key.restored for name, key in TRAINING_KEYS.items()}
    return architecture | {
        name: value for name, value in restored.items() if value is not AS_TRAINED
    }
