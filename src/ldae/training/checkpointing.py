"""Checkpoint manager: save, resume, best weights, refusal to repeat a divergence.

The files are those of :mod:`ldae.training.checkpoint_files`.
"""

import logging
import math
import time
from pathlib import Path
from typing import Any

from ldae import __version__
from ldae.compute import Tensors, versions
from ldae.config import section_name
from ldae.errors import UserError, require
from ldae.files import read_json, write_json
from ldae.locks import acquire_lock
from ldae.training.checkpoint_files import Checkpoints
from ldae.training.distributed.processes import Processes
from ldae.training.divergence import DivergenceDetector
from ldae.training.objectives.base import Objective
from ldae.training.optimizer_step import OptimizerStep
from ldae.training.run_identity import (
    IDENTITY,
    refuse_difference,
    run_folder,
    training_identity,
    warn_of_conditions,
)
from ldae.training.settings import FINISHED, Settings, divergence_settings
from ldae.training.state import State

log = logging.getLogger(__name__)
DIVERGED = "diverged.json"


class CheckpointManager:
    """Saves and restores the whole state of a training; only the first process writes.

    Args:
        objective: Objective of the training, with its networks.
        settings: Settings of the training.
        processes: This process among those that train together.
        optimizer_step: Optimizers.
        detector: Divergence detector.
        state: Step, history and best epoch; filled by :meth:`resume`.

    Raises:
        UserError: the same training has diverged before, or another process holds the folder.
    """

    def __init__(
        self,
        objective: Objective,
        settings: Settings,
        processes: Processes,
        optimizer_step: OptimizerStep,
        detector: DivergenceDetector,
        state: State,
    ):
        self.objective, self.settings, self.processes = objective, settings, processes
        self.optimizer_step, self.detector, self.state = optimizer_step, detector, state
        self.identity = training_identity(objective, settings)
        self.folder = run_folder(Path(settings.run_dir), self.identity, processes.first)
        self.refuse_diverged()
        self.lock = (
            acquire_lock(self.folder / ".lock", str(self.folder)) if processes.first else None
        )
        if processes.first:
            # The process that held the lock before may have finished and deleted the folder.
            write_json(self.identity, self.folder / IDENTITY)
            (self.folder / FINISHED).unlink(missing_ok=True)  # more epochs may follow
        self.checkpoints = Checkpoints(self.folder, delete_old=processes.first)
        self.saved = time.monotonic()

    def release(self) -> None:
        """Finish what is written in the background, and release the lock of the folder."""
        try:
            self.checkpoints.close()
        finally:
            if self.lock:
                self.lock.release()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is older than ``checkpoint_seconds``."""
        return time.monotonic() - self.saved > self.settings.checkpoint_seconds

    def save(self) -> None:
        """Write a checkpoint of everything; all processes wait until it is on the disk."""
        if self.processes.first:
            self.checkpoints.save(self.content())
        # If another process ended meanwhile, the launcher or srun might kill the first one.
        self.processes.barrier(self.objective.compute.device)
        self.saved = time.monotonic()

    def save_later(self) -> None:
        """Write a checkpoint in the background while the training goes on."""
        if self.processes.first:
            self.checkpoints.save_later(self.content())
        self.saved = time.monotonic()

    def content(self) -> dict[str, Any]:
        """All that a checkpoint holds."""
        objective, state = self.objective, self.state
        modules, optimizers = objective.modules(), self.optimizer_step.optimizers
        return {
            **state.state_dict(),
            "identity": self.identity,
            "config": self.settings.cfg,
            "modules": {name: module.state_dict() for name, module in modules.items()},
            "ema": objective.ema.state_dict() if objective.ema else {},
            "optimizers": {name: o.state_dict() for name, o in optimizers.items()},
            "scaler": objective.compute.scaler.state_dict(),
            "watch": self.detector.state_dict(),
            "conditions": self.conditions(),
        }

    def conditions(self) -> dict[str, Any]:
        """Machine, versions and number of processes, which may change when a training resumes."""
        machine = self.objective.compute.describe() | {"processes": self.processes.size}
        return {**machine, **versions(), "ldae": __version__}

    def resume(self, total: int) -> None:
        """Continue from the newest intact checkpoint, if there is one.

        Raises:
            UserError: it is of another training, or beyond the ``total`` steps of this one; or all
                checkpoints are damaged.
        """
        objective, state, checkpoints = self.objective, self.state, self.checkpoints
        content = checkpoints.latest() if self.processes.first else None
        found = -1 if content is None else content["step"]
        found = self.processes.broadcast_from_first(found, objective.compute.device)
        if found < 0:
            if self.processes.first:
                checkpoints.resume_from(found)
            return
        content = content or checkpoints.load(found)
        refuse_difference(content["identity"], self.identity, self.folder)
        require(
            found <= total,
            f"The checkpoint in {self.folder} is at step {found}, beyond the {total} steps of "
            f"{section_name(objective.stage)}.epochs: {self.settings.cfg['epochs']}. "
            "Raise it, or delete the folder to train anew.",
        )
        for name, module in objective.modules().items():
            module.load_state_dict(content["modules"][name])
        self.optimizer_step.load_optimizers(content["optimizers"])
        if objective.ema is not None:
            objective.ema.load_state_dict(content["ema"])
        if content["scaler"] and objective.compute.scaler.is_enabled():
            objective.compute.scaler.load_state_dict(content["scaler"])
        state.load_state_dict({key: content[key] for key in vars(state)})
        self.detector.load_state_dict(content["watch"])
        if self.processes.first:
            checkpoints.resume_from(found)
            self.check_best()
        warn_of_conditions(content["conditions"], self.conditions())
        log.info("%s continues from step %d of %d", objective.stage, state.step, total)

    def save_best_weights(self, epoch: int, metrics: dict[str, float]) -> None:
        """Save the weights if the selection metric is the best so far.

        Raises:
            Diverged: the metric is not finite.
        """
        name, best = self.objective.selects, self.state.best
        if name is None:
            return
        score, step = metrics[name], self.state.step
        if not math.isfinite(score):
            self.detector.stop(
                f"At step {step} validation {name} is not finite.", self.checkpoints.last_good
            )
        if best is not None and score <= best["score"]:
            return
        named = self.checkpoints.save_best(step, self.objective.model_state())
        self.state.best = {"epoch": epoch, "step": step, "score": score, **named}
        log.info("%s epoch %d: best %s so far, %.4f", self.objective.stage, epoch, name, score)

    def check_best(self) -> None:
        """Fall back to older best weights, or to none, if the file of the best is damaged.

        The training continues, with a flag in the model's card.
        """
        best = self.state.best
        if best is None:
            return
        self.state.best = sound = self.checkpoints.sound_best(best)
        if sound != best:
            instead = f"those of epoch {sound['epoch']}" if sound else "those of a later one"
            fault = (
                f"the best weights, of epoch {best['epoch']}, were damaged on the disk; {instead} "
                "stand in for them"
            )
            log.warning("%s: %s", self.objective.stage, fault)
            self.state.faults.append(fault)

    def chosen(self) -> tuple[Tensors, int]:
        """Weights of the model, and their epoch: the best, or the last where there are none."""
        self.checkpoints.wait()
        self.check_best()
        best = self.state.best
        if best is not None:
            return self.checkpoints.load_best(best), best["epoch"]
        for module in self.objective.modules().values():
            module.eval()
        return self.objective.model_state(), len(self.state.history)

    def note_divergence(self, error: UserError) -> None:
        """Record a divergence, so that the same training is not repeated in vain."""
        note = {"message": str(error), "settings": divergence_settings(self.settings.cfg)}
        write_json(note, self.folder / DIVERGED)

    def refuse_diverged(self) -> None:
        """Raise :class:`UserError` if this training has diverged before with the same settings.

        A scheduler that retries failed jobs would repeat it each time. With another identity the
        folder is another one; of the other settings, only those that decide whether a training
        diverges are compared.
        """
        file = self.folder / DIVERGED
        if not file.is_file():
            return
        note = read_json(file)
        require(
            note["settings"] != divergence_settings(self.settings.cfg),
            f"{note['message']} This happened before and nothing has changed since: to try the "
            f"same again, delete {file}.",
        )
