"""Optimizer step over an effective batch, in one process or several, and learning-rate schedule.

The schedule is a function of the step alone, so a resumed training continues as if it had not
stopped.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ldae.compute import Tensors
from ldae.config import section_name
from ldae.data.sampling import Sampler
from ldae.errors import require
from ldae.seeds import derive_seed, generator
from ldae.training.distributed.batch_norm import RunningStatistics
from ldae.training.distributed.processes import Processes
from ldae.training.objectives.base import AS_STAGE, Losses, Objective, PartialLoss
from ldae.training.state import Sums

Rate = Callable[[int], float]  # step -> factor of the configured learning rate
DECAYS = ("none", "cosine")
WARM_UP = 0.02  # fraction of the steps


def constant(step: int) -> float:
    """The paper's schedule: a constant learning rate."""
    return 1.0


def lr_schedule(name: str, total: int, stage: str) -> Rate:
    """Factor of the learning rate by step.

    Args:
        name: ``none``, or ``cosine``: half a cosine from one to zero over the training, times a
            linear rise over its first 2 % of steps.
        total: Steps of the training.
        stage: Name of the stage, for messages.

    Raises:
        UserError: an unknown name.
    """
    require(
        name in DECAYS, f"{section_name(stage)}.decay is {name!r}; allowed are {', '.join(DECAYS)}."
    )
    if name == "none":
        return constant
    rise = max(1.0, WARM_UP * total)

    def cosine(step: int) -> float:
        return min(1.0, (step + 1) / rise) * (0.5 + 0.5 * math.cos(math.pi * step / total))

    return cosine


class OptimizerStep:
    """Optimizers of an objective, and the step that all processes take together.

    Args:
        objective: Objective of the training, with its networks.
        sampler: Assigns the micro-batches of a step to the processes.
        grad_clip: Largest gradient norm of an optimizer, unless its group has its own; None:
            gradients are not clipped.
        seed: Seed of every random draw.
        processes: This process among those that train together.
        rate: Factor of the learning rates by step.
    """

    def __init__(
        self,
        objective: Objective,
        sampler: Sampler,
        grad_clip: float | None,
        seed: int,
        processes: Processes,
        rate: Rate = constant,
    ):
        self.objective, self.sampler, self.processes = objective, sampler, processes
        self.limits = {
            name: grad_clip if group.grad_clip == AS_STAGE else group.grad_clip
            for name, group in objective.groups.items()
        }
        self.seeds = (seed, objective.stage)
        self.optimizers = {
            name: torch.optim.Adam(
                [p for module in group.modules.values() for p in module.parameters()],
                lr=group.learning_rate,
                fused=True,
            )
            for name, group in objective.groups.items()
        }
        self.rate = rate
        self.statistics = RunningStatistics(objective.modules().values(), processes)

    def load_optimizers(self, states: dict[str, dict[str, Any]]) -> None:
        """Continue from the optimizers' ``state_dict``, saved with any memory layout.

        Adam's fused kernel reads weights and moments in one order of memory, but
        ``load_state_dict`` keeps the order that the moments were saved in: channels last on a GPU,
        say, but not on a CPU. So the moments are copied to the layout of the weights.
        """
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(states[name])
            for weight, moments in optimizer.state.items():
                for key, moment in moments.items():
                    if moment.shape == weight.shape:
                        moments[key] = torch.empty_like(weight).copy_(moment)

    def gradients(
        self, step: int, batches: Iterator[Tensors], stop: Callable[[], bool]
    ) -> tuple[Sums, dict[str, float], bool]:
        """Compute the clipped gradient of the mean loss of an effective batch, in every process.

        Args:
            step: Steps taken before.
            batches: This process's micro-batches.
            stop: Whether this process has to stop; called once its gradients are computed.

        Returns:
            Sums of the losses over all processes, gradient norms by optimizer before clipping, and
            whether any process has to stop.
        """
        for module in self.objective.modules().values():
            module.train()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.statistics.begin()
        partial_losses = self.accumulate(step, batches)
        self.statistics.end()
        weights = [weight for optimizer in self.optimizers.values() for weight in live(optimizer)]
        self.processes.sum([weight.grad for weight in weights])
        sums, stopped = self.join(partial_losses, stop())
        norms = {name: self.clip(name) for name in self.optimizers}
        return sums, norms, stopped

    def accumulate(self, step: int, batches: Iterator[Tensors]) -> dict[str, PartialLoss]:
        """Add up the gradients of this process's micro-batches; return sums of their losses."""
        objective, sampler = self.objective, self.sampler
        move = objective.compute.move
        draws = objective.draw(generator(*self.seeds, "draw", step), sampler.batch_size)
        size, epoch = sampler.micro_batch, sampler.epochs_done(step)
        partial_losses: dict[str, PartialLoss] = {}
        first = sampler.first_micro_batch
        for micro in range(first, first + sampler.accumulation):
            torch.manual_seed(derive_seed(*self.seeds, "forward", step, micro))  # dropout
            batch = {key: move(value) for key, value in next(batches).items()}
            own = slice(micro * size, (micro + 1) * size)
            drawn = {key: move(value[own]) for key, value in draws.items()}
            factor = size / sampler.batch_size
            add(partial_losses, objective.backward(batch, drawn, factor, epoch), size)
        return partial_losses

    def join(self, partial_losses: dict[str, PartialLoss], stop: bool) -> tuple[Sums, bool]:
        """Sum losses over all processes; also return whether any of them has to stop."""
        numbers = [number.double() for loss in partial_losses.values() for number in loss]
        numbers.append(torch.full_like(numbers[0], float(stop)))
        together = torch.stack(numbers)
        self.processes.sum([together])
        *values, stopped = together.tolist()
        pairs = zip(values[::2], values[1::2], strict=True)
        return dict(zip(partial_losses, pairs, strict=True)), stopped > 0

    def clip(self, name: str) -> float:
        """Unscale and clip one optimizer's gradient; return its norm before clipping."""
        optimizer, limit = self.optimizers[name], self.limits[name]
        weights = live(optimizer)
        if weights:
            self.objective.compute.scaler.unscale_(optimizer)
        return float(nn.utils.clip_grad_norm_(weights, math.inf if limit is None else limit))

    def update(self, step: int, average: bool = True) -> None:
        """Take the step after ``step`` others, in every optimizer that has gradients.

        ``average`` updates the EMA as well.
        """
        scaler, factor = self.objective.compute.scaler, self.rate(step)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = factor * self.objective.groups[name].learning_rate
            if live(optimizer):
                scaler.step(optimizer)
        scaler.update()
        if average and self.objective.ema is not None:
            self.objective.ema.update()


def live(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Parameters of an optimizer that have a gradient."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return [weight for weight in weights if weight.grad is not None]


def add(partial_losses: dict[str, PartialLoss], losses: Losses, size: int) -> None:
    """Add the losses of a micro-batch of ``size`` items to the sums of its step."""
    for name, value in losses.items():
        if not isinstance(value, PartialLoss):
            value = PartialLoss(value * size, torch.full_like(value, size))
        before = partial_losses.get(
            name, PartialLoss(torch.zeros_like(value.total), torch.zeros_like(value.count))
        )
        partial_losses[name] = PartialLoss(before.total + value.total, before.count + value.count)
