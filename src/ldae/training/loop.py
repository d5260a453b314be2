"""The one training loop: validate, build, load the latest checkpoint, loop.

All randomness is a function of (seed, stage, step, micro-batch), so a run that is stopped and
started again gives the same weights, bit for bit on a CPU with the same number of threads, as one
that was not.
"""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ldae import __version__
from ldae.data.sampling import Sampler, derive_seed, generator
from ldae.errors import UserError, require
from ldae.progress import Progress
from ldae.training.checkpoint import (
    Checkpoints,
    Run,
    refuse_difference,
    run_folder,
    training_identity,
    warn_of_conditions,
)
from ldae.training.compute import versions
from ldae.training.history import Means, Row, write_history
from ldae.training.interrupt import Interrupted, Interrupts, ignore_in_worker
from ldae.training.objective import Objective, Tensors

log = logging.getLogger(__name__)


@dataclass
class State:
    """Everything that changes during training, apart from weights and optimizers."""

    step: int = 0
    history: list[Row] = field(default_factory=list)
    best: dict[str, Any] | None = None  # epoch, step, score, file
    means: Means = field(default_factory=Means)
    seconds: float = 0.0  # of the current epoch's steps


@dataclass(frozen=True)
class Trained:
    """Outcome: the weights to keep, the epoch and metrics they have, and the history."""

    state: Tensors
    epoch: int
    metrics: dict[str, float]
    history: list[Row]
    steps: int
    folder: Path  # of the checkpoints, of no use once the weights are saved


def fit(objective: Objective, run: Run) -> Trained:
    """Train ``objective`` to the end, continuing from its latest checkpoint below ``run.folder``.

    Raises:
        Interrupted: SIGTERM, SIGUSR1 or SIGINT came; a checkpoint was saved.
        UserError: settings that do not fit together or to the checkpoint, or a loss that is not
            finite.
    """
    return Trainer(objective, run).fit()


class Trainer:
    """State of one call of :func:`fit`."""

    def __init__(self, objective: Objective, run: Run):
        self.objective, self.run, self.compute = objective, run, objective.compute
        cfg = run.cfg
        rows = len(objective.train_rows)
        self.sampler = Sampler(
            objective.stage, rows, cfg["batch_size"], cfg["micro_batch"], run.seed
        )
        self.total = self.sampler.steps(cfg["epochs"])
        self.identity = training_identity(objective, run)
        self.optimizers = {
            name: torch.optim.Adam(
                [p for module in group.modules.values() for p in module.parameters()],
                lr=group.learning_rate,
                fused=True,
            )
            for name, group in objective.groups.items()
        }
        self.checkpoints = Checkpoints(run_folder(run.folder, self.identity))
        self.state = State()
        self.saved = time.monotonic()

    def fit(self) -> Trained:
        """Resume and train."""
        state, sampler = self.state, self.sampler
        self.resume()
        progress = Progress(self.objective.stage, self.total, start=state.step)
        batches = self.batches()
        with Interrupts() as interrupts:
            try:
                while True:
                    if sampler.epochs_done(state.step) > len(state.history):
                        self.end_epoch(interrupts)
                    if state.step >= self.total:
                        break
                    losses = self.step(batches)
                    progress.step(state.step, **losses)
                    interrupts.check()
                    if state.step == self.run.stop_after:
                        raise Interrupted(f"stopped after step {state.step}")
                    if time.monotonic() - self.saved > self.run.checkpoint_seconds:
                        self.save()
            except Interrupted:
                self.save()
                log.warning(
                    "%s interrupted at step %d of %d", self.objective.stage, state.step, self.total
                )
                raise
        self.save()
        return self.result()

    def batches(self) -> Iterator[Tensors]:
        """Micro-batches from the current step to the last."""
        loader = DataLoader(
            self.objective.dataset(),
            batch_sampler=list(self.sampler.micro_batches(self.state.step, self.total)),
            num_workers=self.run.cfg["workers"],
            pin_memory=self.compute.cuda,
            worker_init_fn=ignore_in_worker,
        )
        return iter(loader)

    def step(self, batches: Iterator[Tensors]) -> dict[str, float]:
        """One optimizer step over the effective batch; returns its losses."""
        began = time.monotonic()
        objective, state, sampler = self.objective, self.state, self.sampler
        where = (self.run.seed, objective.stage)
        draws = objective.draw(generator(*where, "draw", state.step), sampler.batch_size)
        epoch = sampler.epochs_done(state.step)
        share = 1.0 / sampler.accumulation
        for module in objective.modules().values():
            module.train()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        totals: Tensors = {}
        for micro in range(sampler.accumulation):
            part = slice(micro * sampler.micro_batch, (micro + 1) * sampler.micro_batch)
            torch.manual_seed(derive_seed(*where, "forward", state.step, micro))  # dropout
            batch = {key: self.compute.move(value) for key, value in next(batches).items()}
            drawn = {key: self.compute.move(value[part]) for key, value in draws.items()}
            for key, value in objective.backward(batch, drawn, share, epoch).items():
                totals[key] = totals.get(key, 0.0) + share * value
        norms = {name: self.clip(optimizer) for name, optimizer in self.optimizers.items()}
        losses = {key: float(value) for key, value in totals.items()}
        self.refuse_not_finite({**losses, **{f"{name} gradient": n for name, n in norms.items()}})
        for optimizer in self.optimizers.values():
            optimizer.step()  # skips weights without a gradient, as an adversary not yet joined
        if objective.ema is not None:
            objective.ema.update()
        state.step += 1
        state.seconds += time.monotonic() - began
        first = next(iter(norms))
        state.means.add({**losses, "grad_norm": norms[first]})
        return losses

    def clip(self, optimizer: torch.optim.Optimizer) -> float:
        """Clip one optimizer's gradient to ``grad_clip`` and return its norm before."""
        limit = self.run.cfg["grad_clip"]
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        return float(nn.utils.clip_grad_norm_(weights, math.inf if limit is None else limit))

    def refuse_not_finite(self, values: dict[str, float]) -> None:
        """Raise before a step that would spoil the weights."""
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        stage, last = self.objective.stage, self.checkpoints.steps()
        kept = (
            f"checkpoint-{last[-1]}.pt in {self.checkpoints.folder} is kept"
            if last
            else "none saved"
        )
        require(
            not bad,
            f"At step {self.state.step + 1} of {stage} not finite: {', '.join(bad)}. Last good "
            f"state: {kept}. Set {stage}.precision: fp32 and run again to continue from it, or "
            f"lower {stage}.learning_rate or {stage}.grad_clip and train anew.",
        )

    def end_epoch(self, interrupts: Interrupts) -> None:
        """Validate where due, keep the best weights, add a row to the history."""
        objective, state = self.objective, self.state
        epoch = len(state.history) + 1
        means = state.means.result()
        row: Row = {
            "epoch": epoch,
            "step": state.step,
            "learning_rate": next(iter(objective.groups.values())).learning_rate,
            "grad_norm": means.pop("grad_norm"),
            **{f"train_{name}": value for name, value in means.items()},
        }
        began = time.monotonic()
        last = state.step >= self.total
        if epoch % self.run.cfg["validate_every"] == 0 or last:
            for module in objective.modules().values():
                module.eval()
            metrics = objective.validate(interrupts.check)
            row |= {f"val_{name}": value for name, value in metrics.items()}
            self.keep_best(epoch, metrics)
        samples = state.means.counts["grad_norm"] * self.sampler.batch_size
        row["samples_per_second"] = samples / max(state.seconds, 1e-9)
        row["seconds"] = state.seconds + time.monotonic() - began
        row["peak_memory_mib"] = self.compute.peak_memory_mib()
        state.history.append(row)
        state.means, state.seconds = Means(), 0.0
        write_history(state.history, self.checkpoints.folder / "history.tsv")

    def keep_best(self, epoch: int, metrics: dict[str, float]) -> None:
        """Save the weights when the selection metric is the best so far."""
        name, best = self.objective.selects, self.state.best
        if name is None or (best is not None and metrics[name] <= best["score"]):
            return
        score, step = metrics[name], self.state.step
        self.refuse_not_finite({f"validation {name}": score})
        file = self.checkpoints.save_best(step, self.objective.model_state())
        self.state.best = {"epoch": epoch, "step": step, "score": score, "file": file}
        log.info("%s epoch %d: best %s so far, %.4f", self.objective.stage, epoch, name, score)

    def save(self) -> None:
        """Write a checkpoint of everything."""
        objective, state = self.objective, self.state
        self.checkpoints.save(
            {
                "step": state.step,
                "identity": self.identity,
                "modules": {k: module.state_dict() for k, module in objective.modules().items()},
                "ema": objective.ema.state_dict() if objective.ema else {},
                "optimizers": {
                    k: optimizer.state_dict() for k, optimizer in self.optimizers.items()
                },
                "history": state.history,
                "best": state.best,
                "means": state.means.state_dict(),
                "seconds": state.seconds,
                "conditions": self.conditions(),
            }
        )
        self.saved = time.monotonic()

    def conditions(self) -> dict[str, Any]:
        """Machine and versions, which may differ between two attempts."""
        return {**self.objective.compute.describe(), **versions(), "ldae": __version__}

    def resume(self) -> None:
        """Continue from the latest checkpoint that can be read, if there is one."""
        content = self.checkpoints.latest()
        if content is None:
            return
        objective, state = self.objective, self.state
        refuse_difference(content["identity"], self.identity, self.checkpoints.folder)
        require(
            content["step"] <= self.total,
            f"The checkpoint in {self.checkpoints.folder} is at step {content['step']}, beyond the "
            f"{self.total} steps of {objective.stage}.epochs: {self.run.cfg['epochs']}. Raise it, "
            "or delete the folder to train anew.",
        )
        for name, module in objective.modules().items():
            module.load_state_dict(content["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        if objective.ema is not None:
            objective.ema.load_state_dict(content["ema"])
        state.step, state.history = content["step"], content["history"]
        state.best, state.seconds = content["best"], content["seconds"]
        state.means.load_state_dict(content["means"])
        warn_of_conditions(content["conditions"], self.conditions())
        log.info("%s continues from step %d of %d", objective.stage, state.step, self.total)

    def result(self) -> Trained:
        """The best weights, or the last ones where nothing is selected."""
        state, best = self.state, self.state.best
        if self.objective.selects is not None and best is None:
            raise UserError(f"{self.objective.stage}.epochs is 0: there is nothing to keep.")
        weights = self.checkpoints.load_best(best["file"]) if best else self.objective.model_state()
        epoch = best["epoch"] if best else len(state.history)
        metrics = {k: v for k, v in state.history[epoch - 1].items() if k.startswith("val_")}
        folder = self.checkpoints.folder
        return Trained(weights, epoch, metrics, state.history, state.step, folder)
