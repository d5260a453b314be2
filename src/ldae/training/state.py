"""What a training accumulates, apart from weights and optimizers, and what comes out of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldae.compute import Tensors
from ldae.training.history import Means, Row


@dataclass
class State:
    """Where a training is. The position in the data follows from ``step`` (`data.sampling`)."""

    step: int = 0
    history: list[Row] = field(default_factory=list)
    best: dict[str, Any] | None = None  # epoch, step, score, file, sha256
    faults: list[str] = field(default_factory=list)  # of the disk; flags of the model
    means: Means = field(default_factory=Means)  # of the current epoch
    seconds: float = 0.0  # of the current epoch's steps

    def state_dict(self) -> dict[str, Any]:
        """Numbers and strings."""
        return {**vars(self), "means": self.means.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        for key, value in state.items():
            if key == "means":
                self.means.load_state_dict(value)
            else:
                setattr(self, key, value)


@dataclass(frozen=True)
class Trained:
    """Outcome: the weights to keep, the epoch and metrics they have, and the history."""

    state: Tensors
    epoch: int
    metrics: dict[str, float]
    flags: list[str]  # warnings that the metrics give cause for
    history: list[Row]
    steps: int
    folder: Path  # of the checkpoints
