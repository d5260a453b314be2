"""Who is told of a training while it runs. Watching changes nothing of what is learnt."""

from dataclasses import dataclass

from torch import Tensor

from ldae.training.history import Row


@dataclass(frozen=True)
class Pictures:
    """Volumes side by side.

    Args:
        columns: What each column shows.
        volumes: (rows, columns, X, Y, Z) in [0, 1], on the CPU.
    """

    columns: tuple[str, ...]
    volumes: Tensor


class Observer:
    """Told of every step; this one does nothing with it. `training.monitor` has one that does."""

    def begin(self, step: int, total: int) -> None:
        """A training of ``total`` steps begins, or continues after ``step`` of them."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """A step is done: its losses and gradient norms."""

    def epoch(self, row: Row) -> None:
        """An epoch is done: its row of the history."""

    def show(self, epoch: int, step: int, pictures: Pictures) -> None:
        """What the networks can do after an epoch."""

    def end(self) -> None:
        """The training is done or interrupted."""
