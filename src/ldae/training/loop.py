"""The one training loop: validate, build, load the latest checkpoint, loop.

All randomness is a function of (seed, stage, step, micro-batch), so a run that is stopped and
started again gives the same weights, bit for bit on a CPU with the same number of threads and of
processes, as one that was not. Another number of processes changes nothing but rounding.
"""

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from ldae import __version__
from ldae.data.sampling import Sampler
from ldae.errors import UserError, require
from ldae.progress import Progress
from ldae.training.checkpoint import (
    Checkpoints,
    refuse_difference,
    run_folder,
    training_identity,
    warn_of_conditions,
)
from ldae.training.compute import versions
from ldae.training.history import Means, Row, write_history
from ldae.training.interrupt import Interrupted, Interrupts, ignore_in_worker
from ldae.training.objective import Objective, Tensors
from ldae.training.observer import Observer
from ldae.training.processes import Processes
from ldae.training.settings import Settings
from ldae.training.state import State, Trained
from ldae.training.stepping import Stepper
from ldae.training.watch import Watch

log = logging.getLogger(__name__)


def fit(
    objective: Objective,
    settings: Settings,
    processes: Processes | None = None,
    observer: Observer | None = None,
) -> Trained | None:
    """Train ``objective`` to the end, continuing from its latest checkpoint, if there is one.

    Returns:
        The outcome in the first process, None in the others.

    Raises:
        Interrupted: SIGTERM, SIGUSR1 or SIGINT came to any process; a checkpoint was saved.
        UserError: settings that do not fit together or to the checkpoint, or a loss that is not
            finite or diverges.
    """
    return Trainer(objective, settings, processes or Processes(), observer or Observer()).fit()


class Trainer:
    """State of one call of :func:`fit`."""

    def __init__(
        self, objective: Objective, settings: Settings, processes: Processes, observer: Observer
    ):
        self.objective, self.settings, self.compute = objective, settings, objective.compute
        self.processes, self.observer = processes, observer
        cfg, rows = settings.cfg, len(objective.train_rows)
        self.sampler = Sampler(
            objective.stage,
            rows,
            cfg["batch_size"],
            cfg["micro_batch"],
            settings.seed,
            processes.size,
            processes.rank,
        )
        self.total = self.sampler.steps(cfg["epochs"])
        self.identity = training_identity(objective, settings)
        self.stepper = Stepper(objective, self.sampler, cfg["grad_clip"], settings.seed, processes)
        folder = run_folder(Path(settings.run_dir), self.identity, processes.first)
        self.checkpoints = Checkpoints(folder, tidy=processes.first)
        self.watch = Watch(objective.stage, self.compute.precision)
        self.state = State()
        self.saved = time.monotonic()

    def fit(self) -> Trained | None:
        """Resume and train."""
        state, sampler = self.state, self.sampler
        self.resume()
        self.observer.begin(state.step, self.total)
        progress = Progress(self.objective.stage, self.total, start=state.step)
        batches = self.batches()
        with Interrupts() as interrupts:
            try:
                while True:
                    if sampler.epochs_done(state.step) > len(state.history):
                        self.end_epoch(interrupts)
                    if state.step >= self.total:
                        break
                    losses, stopped = self.step(batches, interrupts)
                    progress.step(state.step, **losses)
                    if stopped:  # all leave at the same step, whoever got the signal
                        interrupts.leave()
                    if state.step == self.settings.stop_after:
                        raise Interrupted(f"stopped after step {state.step}")
                    due = time.monotonic() - self.saved > self.settings.checkpoint_seconds
                    if due and not self.watch.suspicious:
                        self.save()
            except Interrupted:
                if not self.watch.suspicious:
                    self.save()
                log.info(
                    "%s interrupted at step %d of %d", self.objective.stage, state.step, self.total
                )
                raise
            finally:
                self.observer.end()
        self.save()
        return self.result() if self.processes.first else None

    def batches(self) -> Iterator[Tensors]:
        """This process's micro-batches from the current step to the last."""
        loader = DataLoader(
            self.objective.dataset(),
            batch_sampler=self.sampler.micro_batches(self.state.step, self.total),
            num_workers=self.settings.cfg["workers"],
            pin_memory=self.compute.cuda,
            worker_init_fn=ignore_in_worker,
        )
        return iter(loader)

    def step(
        self, batches: Iterator[Tensors], interrupts: Interrupts
    ) -> tuple[dict[str, float], bool]:
        """One optimizer step; returns its losses, and whether any process was told to stop."""
        began, state = time.monotonic(), self.state

        def stop() -> bool:
            return interrupts.told() or self.processes.orphaned

        sums, norms, stopped = self.stepper.gradients(state.step, batches, stop)
        losses = {name: total / count for name, (total, count) in sums.items() if count}
        self.watch.look(state.step + 1, losses, norms, self.checkpoints.last_good)
        self.stepper.update(average=not self.watch.skipped)
        state.step += 1
        state.seconds += time.monotonic() - began
        norm = next(iter(norms.values()))
        if math.isfinite(norm):
            sums["grad_norm"] = (norm, 1.0)
        state.means.add(sums)
        self.observer.step(state.step, losses | {f"grad_norm_{k}": v for k, v in norms.items()})
        return losses, stopped

    def end_epoch(self, interrupts: Interrupts) -> None:
        """Validate where due, keep the best weights, add a row to the history.

        The first process does it; the others learn from it whether it was interrupted meanwhile.
        """
        objective, state = self.objective, self.state
        epoch, began = len(state.history) + 1, time.monotonic()
        means = state.means.result()
        row: Row = {
            "epoch": epoch,
            "step": state.step,
            "learning_rate": next(iter(objective.groups.values())).learning_rate,
            "grad_norm": means.pop("grad_norm", math.nan),
            **{f"train_{name}": value for name, value in means.items()},
        }
        stopped: Interrupted | None = None
        if self.processes.first:
            try:
                row |= self.examine(epoch, interrupts)
            except Interrupted as error:
                stopped = error
        if self.processes.of_first(int(stopped is not None), self.compute.device):
            raise stopped or Interrupted("stopped by a signal to the first process")
        samples = state.means.sums["loss"][1]
        row["samples_per_second"] = samples / max(state.seconds, 1e-9)
        row["seconds"] = state.seconds + time.monotonic() - began
        row["peak_memory_mib"] = self.compute.peak_memory_mib()
        state.history.append(row)
        state.means, state.seconds = Means(), 0.0
        if self.processes.first:
            write_history(state.history, self.checkpoints.folder / "history.tsv")
            self.observer.epoch(row)

    def examine(self, epoch: int, interrupts: Interrupts) -> Row:
        """Validation and pictures where due: the columns of the metrics."""
        objective, cfg = self.objective, self.settings.cfg
        last = self.state.step >= self.total
        for module in objective.modules().values():
            module.eval()
        metrics: dict[str, float] = {}
        if epoch % cfg["validate_every"] == 0 or last:
            metrics = objective.validate(interrupts.check)
            for flag in objective.flags(metrics):
                log.warning("%s epoch %d: %s", objective.stage, epoch, flag)
        if cfg["sample_every"] and (epoch % cfg["sample_every"] == 0 or last):
            pictures = objective.pictures(interrupts.check)
            if pictures is not None:
                self.observer.show(epoch, self.state.step, pictures)
        if metrics:
            self.keep_best(epoch, metrics)
        return {f"val_{name}": value for name, value in metrics.items()}

    def keep_best(self, epoch: int, metrics: dict[str, float]) -> None:
        """Save the weights when the selection metric is the best so far."""
        name, best = self.objective.selects, self.state.best
        if name is None:
            return
        score, step = metrics[name], self.state.step
        if not math.isfinite(score):
            self.watch.stop(
                f"At step {step} validation {name} is not finite.", self.checkpoints.last_good
            )
        if best is not None and score <= best["score"]:
            return
        file = self.checkpoints.save_best(step, self.objective.model_state())
        self.state.best = {"epoch": epoch, "step": step, "score": score, "file": file}
        log.info("%s epoch %d: best %s so far, %.4f", self.objective.stage, epoch, name, score)

    def save(self) -> None:
        """Write a checkpoint of everything, in the first process: all hold the same."""
        self.saved = time.monotonic()
        if not self.processes.first:
            return
        objective, state = self.objective, self.state
        self.checkpoints.save(
            {
                **state.state_dict(),
                "identity": self.identity,
                "config": self.settings.cfg,
                "modules": {k: module.state_dict() for k, module in objective.modules().items()},
                "ema": objective.ema.state_dict() if objective.ema else {},
                "optimizers": {k: o.state_dict() for k, o in self.stepper.optimizers.items()},
                "scaler": self.compute.scaler.state_dict(),
                "watch": self.watch.state_dict(),
                "conditions": self.conditions(),
            }
        )

    def conditions(self) -> dict[str, Any]:
        """Machine, versions and processes, which may differ between two attempts."""
        machine = self.compute.describe() | {"processes": self.processes.size}
        return {**machine, **versions(), "ldae": __version__}

    def resume(self) -> None:
        """Continue from the latest checkpoint that can be read, if there is one."""
        content = self.checkpoints.latest() if self.processes.first else None
        found = -1 if content is None else content["step"]
        found = self.processes.of_first(found, self.compute.device)
        if found < 0:
            return
        content = content or self.checkpoints.load(found)
        objective, state = self.objective, self.state
        refuse_difference(content["identity"], self.identity, self.checkpoints.folder)
        require(
            found <= self.total,
            f"The checkpoint in {self.checkpoints.folder} is at step {found}, beyond the "
            f"{self.total} steps of {objective.stage}.epochs: {self.settings.cfg['epochs']}. Raise "
            "it, or delete the folder to train anew.",
        )
        for name, module in objective.modules().items():
            module.load_state_dict(content["modules"][name])
        for name, optimizer in self.stepper.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        if objective.ema is not None:
            objective.ema.load_state_dict(content["ema"])
        if content["scaler"] and self.compute.scaler.is_enabled():
            self.compute.scaler.load_state_dict(content["scaler"])
        state.load_state_dict({key: content[key] for key in vars(state)})
        self.watch.load_state_dict(content["watch"])
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
        flags = self.objective.flags({k.removeprefix("val_"): v for k, v in metrics.items()})
        folder = self.checkpoints.folder
        return Trained(weights, epoch, metrics, flags, state.history, state.step, folder)
