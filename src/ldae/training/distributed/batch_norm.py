"""Running statistics of batch norms over several processes.

A batch norm normalises by the statistics of a micro-batch, which the number of processes does not
change. Its running statistics are another matter: each process sees its own micro-batches only.
"""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn

from ldae.training.distributed.processes import Processes
from ldae.training.ema import batch_norms


class RunningStatistics:
    """Makes them, after each step, what one process would have had.

    One process that sees the micro-batches m_1, m_2, ... moves a statistic r by
    ``r <- d r + (1-d) m`` for each. Over k of them this is ``d^k r + A``, with A of the k
    micro-batches alone. So every process's A, weighted by d to the power of the micro-batches that
    come after its own, sums to the statistic of them all.

    Args:
        modules: The trained modules.
        processes: Those that train them; each must run a norm equally often in a step.
    """

    def __init__(self, modules: Iterable[nn.Module], processes: Processes):
        norms = batch_norms(modules) if processes.size > 1 else []
        self.norms = [norm for norm in norms if norm.track_running_stats]
        self.processes = processes
        self.before: list[State] = []

    def begin(self) -> None:
        """Remember the statistics before a step."""
        self.before = [
            State(n.running_mean.clone(), n.running_var.clone(), int(n.num_batches_tracked))
            for n in self.norms
        ]

    def end(self) -> None:
        """Join the statistics after a step."""
        size, later = self.processes.size, self.processes.size - 1 - self.processes.rank
        sums, rest = [], []
        for norm, before in zip(self.norms, self.before, strict=True):
            seen = int(norm.num_batches_tracked) - before.seen
            decay = (1.0 - norm.momentum) ** seen
            for now, then in ((norm.running_mean, before.mean), (norm.running_var, before.var)):
                sums.append(now.sub_(decay * then).mul_(decay**later))
                rest.append(decay**size * then)
            norm.num_batches_tracked.fill_(before.seen + size * seen)
        self.processes.sum(sums)
        for total, untouched in zip(sums, rest, strict=True):
            total.add_(untouched)


class State(NamedTuple):
    """Running statistics of one norm."""

    mean: Tensor
    var: Tensor
    seen: int  # micro-batches
