"""What of a training outlives its process: checkpoints, the best weights, a divergence."""

import logging
import math
import time
from pathlib import Path
from typing import Any

from ldae import __version__
from ldae.compute import Tensors, versions
from ldae.errors import UserError, require
from ldae.files import read_json, write_json
from ldae.leftover import FINISHED
from ldae.locks import hold
from ldae.training.checkpoint import Checkpoints
from ldae.training.identity import (
    IDENTITY,
    refuse_difference,
    run_folder,
    training_identity,
    warn_of_conditions,
)
from ldae.training.objective import Objective
from ldae.training.processes import Processes
from ldae.training.settings import Settings, tried
from ldae.training.state import State
from ldae.training.stepping import Stepper
from ldae.training.watch import Watch

DIVERGED = "diverged.json"

log = logging.getLogger(__name__)


class Keeper:
    """Saves and restores all that a training is; only the first process writes.

    Args:
        objective: What is trained.
        settings: The training's.
        processes: Those that train together.
        stepper: Its optimizers.
        watch: Its watch.
        state: Where it is.

    Raises:
        UserError: this very training has diverged before, or another process is at it.
    """

    def __init__(
        self,
        objective: Objective,
        settings: Settings,
        processes: Processes,
        stepper: Stepper,
        watch: Watch,
        state: State,
    ):
        self.objective, self.settings, self.processes = objective, settings, processes
        self.stepper, self.watch, self.state = stepper, watch, state
        self.identity = training_identity(objective, settings)
        self.folder = run_folder(Path(settings.run_dir), self.identity, processes.first)
        self.refuse_diverged()
        self.lock = hold(self.folder / ".lock", str(self.folder)) if processes.first else None
        if processes.first:
            # Gone, if the process that it had to wait for has finished and deleted the folder.
            write_json(self.identity, self.folder / IDENTITY)
            (self.folder / FINISHED).unlink(missing_ok=True)  # more epochs may follow
        self.checkpoints = Checkpoints(self.folder, tidy=processes.first)
        self.saved = time.monotonic()

    def release(self) -> None:
        """Let another process have the folder."""
        if self.lock:
            self.lock.close()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is older than the settings allow."""
        return time.monotonic() - self.saved > self.settings.checkpoint_seconds

    def save(self) -> None:
        """Write a checkpoint of everything; all processes go on when it is on the disk."""
        if self.processes.first:
            objective, state = self.objective, self.state
            modules, optimizers = objective.modules(), self.stepper.optimizers
            self.checkpoints.save(
                {
                    **state.state_dict(),
                    "identity": self.identity,
                    "config": self.settings.cfg,
                    "modules": {name: module.state_dict() for name, module in modules.items()},
                    "ema": objective.ema.state_dict() if objective.ema else {},
                    "optimizers": {name: o.state_dict() for name, o in optimizers.items()},
                    "scaler": objective.compute.scaler.state_dict(),
                    "watch": self.watch.state_dict(),
                    "conditions": self.conditions(),
                }
            )
        # One that left meanwhile would have the first killed by what watches over them all.
        self.processes.meet(self.objective.compute.device)
        self.saved = time.monotonic()

    def conditions(self) -> dict[str, Any]:
        """Machine, versions and processes, which may differ between two attempts."""
        machine = self.objective.compute.describe() | {"processes": self.processes.size}
        return {**machine, **versions(), "ldae": __version__}

    def resume(self, total: int) -> None:
        """Continue from the latest checkpoint that is whole, if there is one.

        Raises:
            UserError: it is of another training, or beyond the ``total`` steps of this one; or
                there are some and none is whole.
        """
        objective, state, checkpoints = self.objective, self.state, self.checkpoints
        content = checkpoints.latest() if self.processes.first else None
        found = -1 if content is None else content["step"]
        found = self.processes.of_first(found, objective.compute.device)
        if found < 0:
            if self.processes.first:
                checkpoints.go_on_from(found)
            return
        content = content or checkpoints.load(found)
        refuse_difference(content["identity"], self.identity, self.folder)
        require(
            found <= total,
            f"The checkpoint in {self.folder} is at step {found}, beyond the {total} steps of "
            f"{objective.stage}.epochs: {self.settings.cfg['epochs']}. Raise it, or delete the "
            "folder to train anew.",
        )
        for name, module in objective.modules().items():
            module.load_state_dict(content["modules"][name])
        self.stepper.load_optimizers(content["optimizers"])
        if objective.ema is not None:
            objective.ema.load_state_dict(content["ema"])
        if content["scaler"] and objective.compute.scaler.is_enabled():
            objective.compute.scaler.load_state_dict(content["scaler"])
        state.load_state_dict({key: content[key] for key in vars(state)})
        self.watch.load_state_dict(content["watch"])
        if self.processes.first:
            checkpoints.go_on_from(found)
            self.check_best()
        warn_of_conditions(content["conditions"], self.conditions())
        log.info("%s continues from step %d of %d", objective.stage, state.step, total)

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
        named = self.checkpoints.save_best(step, self.objective.model_state())
        self.state.best = {"epoch": epoch, "step": step, "score": score, **named}
        log.info("%s epoch %d: best %s so far, %.4f", self.objective.stage, epoch, name, score)

    def check_best(self) -> None:
        """Fall back to older best weights, or to none, where the best cannot be read any more.

        A damaged file must not cost the training: it goes on, with a flag in the model's card.
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
        """The weights to keep and their epoch: the best ones, or the last where none is best."""
        self.check_best()
        best = self.state.best
        if best is not None:
            return self.checkpoints.load_best(best), best["epoch"]
        for module in self.objective.modules().values():
            module.eval()
        return self.objective.model_state(), len(self.state.history)

    def note_divergence(self, error: UserError) -> None:
        """Leave a note that keeps the same training from being tried again in vain."""
        note = {"message": str(error), "settings": tried(self.settings.cfg)}
        write_json(note, self.folder / DIVERGED)

    def refuse_diverged(self) -> None:
        """Raise :class:`UserError` if this training has diverged before with the same settings.

        A scheduler that tries failed jobs again would let it diverge as often. Other settings or
        sources are another folder, or differ from those in the note.
        """
        file = self.folder / DIVERGED
        if not file.is_file():
            return
        note = read_json(file)
        require(
            note["settings"] != tried(self.settings.cfg),
            f"{note['message']} This happened before and nothing has changed since: to try the "
            f"same again, delete {file}.",
        )
