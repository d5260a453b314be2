"""Running statistics of batch norms, merged over several processes.

A batch norm normalises by the statistics of a micro-batch, which the number of processes does not
change. Its running statistics need merging, as each process sees only its own micro-batches.
"""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn

from ldae.training.distributed.processes import Processes
from ldae.training.ema import batch_norms


class RunningStatistics:
    """Sets the running statistics, after each step, to those of training in one process.

    One process that sees the micro-batches m_1, m_2, ... updates a statistic r by
    ``r <- d r + (1-d) m`` for each. Over k of them this is ``d^k r + A``, where A depends on the k
    micro-batches alone. Each process weights its A by d to the power of the number of micro-batches
    that come after its own. These sum to A of all micro-batches.

    Args:
        modules: The trained modules.
        processes: This process among those that train them. Each must run a norm equally often in
            a step.
    """

    def __init__(self, modules: Iterable[nn.Module], processes: Processes):
        norms = batch_norms(modules) if processes.size > 1 else []
        self.norms = [norm for norm in norms if norm.track_running_stats]
        self.processes = processes
        self.before: list[State] = []

    def begin(self) -> None:
        """Store the statistics before a step."""
        self.before = [
            State(n.running_mean.clone(), n.running_var.clone(), int(n.num_batches_tracked))
            for n in self.norms
        ]

    def end(self) -> None:
        """Merge the statistics after a step."""
        size, later = self.processes.size, self.processes.size - 1 - self.processes.rank
        sums, rest = [], []
        for norm, before in zip(self.norms, self.before, strict=True):
            batches = int(norm.num_batches_tracked) - before.batches
            decay = (1.0 - norm.momentum) ** batches
            for now, then in ((norm.running_mean, before.mean), (norm.running_var, before.var)):
                sums.append(now.sub_(decay * then).mul_(decay**later))
                rest.append(decay**size * then)
            norm.num_batches_tracked.fill_(before.batches + size * batches)
        self.processes.sum(sums)
        for total, untouched in zip(sums, rest, strict=True):
            total.add_(untouched)


class State(NamedTuple):
    """Running statistics of one norm."""

    mean: Tensor
    var: Tensor
    batches: int  # micro-batches so far
