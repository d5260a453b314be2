"""Sampling as a pure function of (seed, step): no state, so a resumed run sees the same batches.

Training draws from an endless sequence of permutations, one an epoch. A batch may begin in one
permutation and end in the next, so every scan is used exactly once an epoch, no batch is short and
none is dropped. A batch is cut into micro-batches, and each training process takes a consecutive
run of them. So the sequence depends neither on the micro-batch nor on the numbers of training and
loader processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ldae.config import section_name
from ldae.errors import UserError, require
from ldae.seeds import derive_seed


@dataclass(frozen=True)
class Sampler:
    """Batches of positions in 0 .. n-1.

    Args:
        stage: Name of the config section, for messages and for the seed.
        n: Number of training scans.
        batch_size: Scans an optimizer step uses: the effective batch.
        micro_batch: Scans a forward pass holds.
        seed: Seed of the permutations.
        processes: Number of training processes; ``micro_batch * processes`` divides
            ``batch_size``.
        rank: Rank of this process, from 0.

    Raises:
        UserError: the batch cannot be divided so, or is larger than the training split.
    """

    stage: str
    n: int
    batch_size: int
    micro_batch: int
    seed: int
    processes: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        check_batch(self.stage, self.batch_size, self.micro_batch, self.processes)
        require(
            self.batch_size <= self.n,
            f"{section_name(self.stage)}.batch_size is {self.batch_size}, but only {self.n} scans "
            "are in the training split. Lower it, or add scans.",
        )

    @property
    def accumulation(self) -> int:
        """Number of micro-batches per step in each process."""
        return self.batch_size // (self.micro_batch * self.processes)

    @property
    def first_micro_batch(self) -> int:
        """Index of this process's first micro-batch among those of a step."""
        return self.rank * self.accumulation

    def permutation(self, epoch: int) -> np.ndarray:
        """Order of the scans in one epoch (0, 1, ...): (n,)."""
        seed = derive_seed(self.seed, self.stage, "order", epoch)
        return np.random.default_rng(seed).permutation(self.n)

    def steps(self, epochs: int) -> int:
        """Number of optimizer steps after which every scan was used at least ``epochs`` times."""
        return -(-epochs * self.n // self.batch_size)

    def epochs_done(self, step: int) -> int:
        """Number of complete epochs after ``step`` optimizer steps."""
        return step * self.batch_size // self.n

    def batch(self, step: int) -> np.ndarray:
        """Positions of the scans of optimizer step 0, 1, ...: (batch_size,)."""
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        orders = {epoch: self.permutation(epoch) for epoch in np.unique(places // self.n)}
        return np.array([orders[place // self.n][place % self.n] for place in places])

    def micro_batches(self, start: int, stop: int) -> Iterator[list[int]]:
        """This process's positions, one list per micro-batch, of the steps start .. stop-1."""
        for placed in self.placed_micro_batches(start, stop):
            yield [position for position, _ in placed]

    def placed_micro_batches(self, start: int, stop: int) -> Iterator[list[tuple[int, int]]]:
        """As :meth:`micro_batches`, each position with its place in the endless sequence."""
        first = self.first_micro_batch
        for step in range(start, stop):
            places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
            pairs = np.stack([self.batch(step), places], 1).reshape(-1, self.micro_batch, 2)
            for piece in pairs[first : first + self.accumulation].tolist():
                yield [(position, place) for position, place in piece]


def batches(count: int, size: int) -> Iterator[np.ndarray]:
    """Positions 0 .. count-1 in consecutive runs of at most ``size``."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def check_batch(stage: str, batch_size: int, micro_batch: int | str, processes: int) -> None:
    """Check that ``batch_size`` is a multiple of ``micro_batch`` x ``processes``.

    The quotient is the number of micro-batches whose gradients each process accumulates. A
    ``micro_batch`` that is ``auto`` counts as one: the choice will divide what a process gets.

    Raises:
        UserError: it is not. The message names the three keys and batch sizes that are possible.
    """
    smallest = 1 if isinstance(micro_batch, str) else micro_batch
    section, together = section_name(stage), smallest * processes
    if batch_size < together or batch_size % together:
        low = batch_size // together * together
        nearest = f"{low} or {low + together}" if low else f"{together}"
        raise UserError(
            f"{section}.batch_size is {batch_size}, which is not a multiple of "
            f"{section}.micro_batch x {section}.processes = {micro_batch} x {processes} = "
            f"{together}; use {nearest}, or lower micro_batch or processes."
        )
