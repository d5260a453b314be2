"""Training loop of all stages: build, resume from the latest checkpoint, train, validate, save.

All randomness is a function of (seed, stage, step, micro-batch). So a training that is stopped and
resumed gives the same weights as one that was not: bit for bit on a CPU, with the same number of
threads and processes. Another number of processes changes nothing but rounding.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext

from torch.utils.data import DataLoader

from ldae.compute import Tensors
from ldae.config import section_name
from ldae.data.augmentation import Augmented
from ldae.data.sampling import Sampler
from ldae.errors import UserError
from ldae.progress import Progress
from ldae.training.callbacks import Callback
from ldae.training.checkpointing import CheckpointManager
from ldae.training.distributed.processes import Processes
from ldae.training.distributed.signals import Interrupted, Interrupts, ignore_in_worker
from ldae.training.divergence import Diverged, DivergenceDetector
from ldae.training.objectives.base import Objective
from ldae.training.optimizer_step import OptimizerStep, lr_schedule
from ldae.training.settings import Settings
from ldae.training.state import Means, Row, State, Trained, write_history

log = logging.getLogger(__name__)


def fit(
    objective: Objective,
    settings: Settings,
    processes: Processes | None = None,
    callback: Callback | None = None,
    keep: Callable[[Trained], None] | None = None,
) -> Trained | None:
    """Train ``objective`` to the end, continuing from its latest checkpoint, if there is one.

    Args:
        objective: Objective of the training.
        settings: Settings of the training.
        processes: This process among those that train together; None: it trains alone.
        callback: Called at every step and epoch; None: none.
        keep: Called by the first process with the outcome, while it still holds the lock of the
            checkpoint folder.

    Returns:
        The outcome in the first process, None in the others.

    Raises:
        Interrupted: SIGTERM, SIGUSR1 or SIGINT came to any process; a checkpoint was saved, unless
            the loss was high for several steps.
        UserError: settings that do not fit together or to the checkpoint.
        Diverged: a loss, gradient or validation metric is not finite, or the loss diverges.
    """
    trainer = Trainer(objective, settings, processes or Processes(), callback or Callback())
    try:
        trained = trainer.fit()
        if trained is not None and keep is not None:
            keep(trained)
        return trained
    finally:
        trainer.checkpoints.release()


class Trainer:
    """State of one call of :func:`fit`."""

    def __init__(
        self, objective: Objective, settings: Settings, processes: Processes, callback: Callback
    ):
        self.objective, self.settings, self.compute = objective, settings, objective.compute
        self.processes, self.callback = processes, callback
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
        self.optimizer_step = OptimizerStep(
            objective,
            self.sampler,
            cfg["grad_clip"],
            settings.seed,
            processes,
            lr_schedule(cfg["decay"], self.total, objective.stage),
        )
        self.detector = DivergenceDetector(objective.stage, self.compute.precision)
        self.state = State()
        self.checkpoints = CheckpointManager(
            objective, settings, processes, self.optimizer_step, self.detector, self.state
        )

    def fit(self) -> Trained | None:
        """Resume and train; return the outcome in the first process, None in the others."""
        state, sampler = self.state, self.sampler
        self.checkpoints.resume(self.total)
        self.callback.begin(state.step, self.total)
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
                    if stopped:  # all leave at the same step, whichever got the signal
                        interrupts.leave()
                    if state.step == self.settings.stop_after:
                        raise Interrupted(f"stopped after step {state.step}")
                    # The first process's clock decides for all, so they save together.
                    due = self.processes.broadcast_from_first(
                        int(self.checkpoints.due), self.compute.device
                    )
                    if due and not self.detector.suspicious:
                        self.checkpoints.save_later()
            except Interrupted:
                self.save_before_leaving()
                log.info(
                    "%s interrupted at step %d of %d", self.objective.stage, state.step, self.total
                )
                raise
            except Diverged as error:
                if self.processes.first:
                    self.checkpoints.note_divergence(error)
                raise
            finally:
                self.callback.end()
        self.checkpoints.save()
        return self.result() if self.processes.first else None

    def save_before_leaving(self) -> None:
        """Save, unless the loss has been high for several steps: then the weights may be spoilt."""
        if self.detector.rising:
            log.warning(
                "%s: the loss was high for several steps, so the current state is not saved: %s",
                self.objective.stage,
                self.checkpoints.checkpoints.last_good(),
            )
        else:
            self.checkpoints.save()

    def batches(self) -> Iterator[Tensors]:
        """This process's micro-batches from the current step to the last."""
        dataset, sampler = self.objective.dataset(), self.sampler
        numbered = isinstance(dataset, Augmented)
        order = sampler.placed_micro_batches if numbered else sampler.micro_batches
        loader = DataLoader(
            dataset,
            batch_sampler=order(self.state.step, self.total),
            num_workers=self.settings.cfg["workers"],
            pin_memory=self.compute.cuda,
            worker_init_fn=ignore_in_worker,
        )
        return iter(loader)

    def step(
        self, batches: Iterator[Tensors], interrupts: Interrupts
    ) -> tuple[dict[str, float], bool]:
        """Take one optimizer step; return its losses, and whether any process has to stop."""
        began, state = time.monotonic(), self.state

        def stop() -> bool:
            return interrupts.requested() or self.processes.orphaned

        sums, norms, stopped = self.optimizer_step.gradients(state.step, batches, stop)
        losses = {name: total / count for name, (total, count) in sums.items() if count}
        self.detector.check(state.step + 1, losses, norms, self.checkpoints.checkpoints.last_good)
        self.optimizer_step.update(state.step, average=not self.detector.skipped)
        state.step += 1
        state.seconds += time.monotonic() - began
        norm = next(iter(norms.values()))
        if math.isfinite(norm):
            sums["grad_norm"] = (norm, 1.0)
        state.means.add(sums)
        self.callback.step(state.step, losses | {f"grad_norm_{k}": v for k, v in norms.items()})
        return losses, stopped

    def end_epoch(self, interrupts: Interrupts) -> None:
        """Validate where due, save the best weights, add a row to the history.

        Only the first process validates; it tells the others whether it was interrupted meanwhile.
        """
        objective, state = self.objective, self.state
        epoch, began = len(state.history) + 1, time.monotonic()
        means = state.means.result()
        row: Row = {
            "epoch": epoch,
            "step": state.step,
            "learning_rate": self.optimizer_step.rate(state.step - 1)
            * next(iter(objective.groups.values())).learning_rate,
            "grad_norm": means.pop("grad_norm", math.nan),
            **{f"train_{name}": value for name, value in means.items()},
        }
        stopped: Interrupted | None = None
        if self.processes.first:
            try:
                row |= self.examine(epoch, interrupts)
            except Interrupted as error:
                stopped = error
        if self.processes.broadcast_from_first(int(stopped is not None), self.compute.device):
            raise stopped or Interrupted("stopped by a signal to the first process")
        samples = state.means.sums["loss"][1]
        row["samples_per_second"] = samples / max(state.seconds, 1e-9)
        row["seconds"] = state.seconds + time.monotonic() - began
        row["peak_memory_mib"] = self.compute.peak_memory_mib()
        state.history.append(row)
        state.means, state.seconds = Means(), 0.0
        if self.processes.first:
            write_history(state.history, self.checkpoints.folder / "history.tsv")
            self.callback.epoch(row)

    def examine(self, epoch: int, interrupts: Interrupts) -> Row:
        """Validate, save the best weights, show pictures, where due; return columns of metrics."""
        objective, cfg = self.objective, self.settings.cfg
        last = self.state.step >= self.total
        for module in objective.modules().values():
            module.eval()
        validates = epoch % cfg["validate_every"] == 0 or last
        shows = cfg["sample_every"] and (epoch % cfg["sample_every"] == 0 or last)
        metrics: dict[str, float] = {}
        with objective.as_judged() if validates or shows else nullcontext():
            if validates:
                metrics = objective.validate(interrupts.check)
                for flag in objective.flags(metrics):
                    log.warning("%s epoch %d: %s", objective.stage, epoch, flag)
            if shows:
                pictures = objective.pictures(interrupts.check)
                if pictures is not None:
                    self.callback.show(epoch, self.state.step, pictures)
            if metrics:
                self.checkpoints.save_best_weights(epoch, metrics)
        return {f"val_{name}": value for name, value in metrics.items()}

    def result(self) -> Trained:
        """Outcome with the best weights, or the last ones where nothing is selected."""
        state = self.state
        if not state.history:
            raise UserError(
                f"{section_name(self.objective.stage)}.epochs is 0: no weights to save."
            )
        weights, epoch = self.checkpoints.chosen()
        metrics = {k: v for k, v in state.history[epoch - 1].items() if k.startswith("val_")}
        flags = self.objective.flags({k.removeprefix("val_"): v for k, v in metrics.items()})
        flags, folder = [*flags, *state.faults], self.checkpoints.folder
        return Trained(weights, epoch, metrics, flags, state.history, state.step, folder)
