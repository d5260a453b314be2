"""Checkpoint files: on the disk, not only in its cache, when written; checked before they are used.

``checkpoint-<step>.pt`` files lie in ``<run_dir>/<digest of the identity>``, two of them kept, and
beside them the weights of the best epochs that they name. ``<file>.json`` beside each holds its
SHA-256: a flipped bit in a tensor would otherwise be loaded without a word.

What of a training outlives its process: checkpoints, the best weights, a divergence.
"""

import logging
import math
import re
import time
from pathlib import Path
from typing import Any

import torch

from ldae import __version__
from ldae.compute import Tensors, versions
from ldae.errors import UserError, require
from ldae.files import atomic, flush, read_json, sha256, write_json
from ldae.locks import hold
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

KEPT = 2
NAME = re.compile(r"checkpoint-(\d+)\.pt")
log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is a dict of tensors, numbers and strings, so ``weights_only`` loads it. Its
    ``best`` is None or names the file of the best weights (``file``) and their SHA-256
    (``sha256``).
    """

    def __init__(self, folder: str | Path, delete_old: bool = True):
        """Use ``folder``; ``delete_old`` removes what a killed process left half-written in it."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob(".tmp*") if delete_old else ():
            stale.unlink()

    def steps(self) -> list[int]:
        """Steps with a checkpoint, ascending."""
        names = (NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def path(self, step: int) -> Path:
        """File of a step's checkpoint."""
        return self.folder / f"checkpoint-{step}.pt"

    def save(self, content: dict[str, Any]) -> None:
        """Write the checkpoint of ``content["step"]`` and remove all but the last two."""
        file = self.path(content["step"])
        write(content, file, best=content["best"])
        for step in self.steps()[:-KEPT]:
            remove(self.path(step))
        self.delete_best()

    def latest(self) -> dict[str, Any] | None:
        """The newest checkpoint that is whole, on the CPU; None if none was ever finished.

        One that is not whole is reported and skipped for the one before.

        Raises:
            OSError, MemoryError: the disk or the machine fails, which says nothing of the file.
            UserError: there are checkpoints, but none is whole.
        """
        finished = [step for step in self.steps() if card(self.path(step)).is_file()]
        for step in reversed(finished):
            try:
                return self.load(step)
            except (ValueError, KeyError, TypeError) as error:
                log.warning("%s is not whole (%s); trying the one before.", self.path(step), error)
        require(
            not finished,
            f"Of the checkpoints in {self.folder} none is whole any more: steps {finished}. Put "
            "back a copy of one, with the .json beside it, or delete the folder to train anew.",
        )
        return None

    def load(self, step: int) -> dict[str, Any]:
        """The checkpoint of a step, on the CPU.

        Raises:
            ValueError, KeyError, TypeError: it, or its card, is not what was written.
        """
        file = self.path(step)
        content = read(file, read_json(card(file))["sha256"])
        if content["step"] != step:
            raise ValueError("its step is not the one of its name")
        return content

    def last_good(self) -> str:
        """The newest checkpoint, in words for a message."""
        steps = self.steps()
        return f"{self.path(steps[-1]).name} in {self.folder} is kept" if steps else "none saved"

    def save_best(self, step: int, state: dict[str, torch.Tensor]) -> dict[str, str]:
        """Write the weights of the best epoch so far; return the file's name and SHA-256."""
        file = self.folder / f"best-{step}.pt"
        named = {"file": file.name, "sha256": write(state, file)}
        self.delete_best(but=file.name)
        return named

    def delete_best(self, but: str | None = None) -> None:
        """Remove all best weights that no checkpoint names, ``but`` those not saved in one yet.

        Only the names count: after a resume newer weights may lie there whose epoch is trained
        once more, and on a GPU need not become the best again.
        """
        kept = {but, *(best["file"] for best in self.named_best())}
        for path in self.folder.glob("best-*.pt"):
            if path.name not in kept:
                remove(path)

    def resume_from(self, step: int) -> None:
        """Set aside checkpoints after a step, which are not whole; forget their best weights.

        Left in place, they would count among those to keep.
        """
        for later in (later for later in self.steps() if later > step):
            for file in (self.path(later), card(self.path(later))):
                if file.is_file():
                    file.replace(file.with_name(f"damaged-{file.name}"))
        self.delete_best()

    def named_best(self) -> list[dict[str, Any]]:
        """The best weights that the checkpoints name, from the newest one on."""
        found = []
        for step in reversed(self.steps()):
            try:
                found.append(read_json(card(self.path(step)))["best"])
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                log.warning("%s cannot be read.", card(self.path(step)))
        return [best for best in found if best]

    def sound_best(self, best: dict[str, Any]) -> dict[str, Any] | None:
        """``best`` if its file is what was written, else an older one that is; None: no more."""
        for candidate in (best, *self.named_best()):
            file = self.folder / candidate["file"]
            if file.is_file() and sha256(file) == candidate["sha256"]:
                return candidate
        return None

    def load_best(self, best: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Weights written by :meth:`save_best`; raises ValueError if they are others."""
        return read(self.folder / best["file"], best["sha256"])


def card(file: Path) -> Path:
    """The JSON beside a file, with its SHA-256."""
    return file.with_name(f"{file.name}.json")


def write(content: dict[str, Any], file: Path, **more: Any) -> str:
    """Save ``content`` so that a power cut leaves it whole or not at all; return its SHA-256."""
    card(file).unlink(missing_ok=True)  # of an earlier file of this name
    with atomic(file) as temporary:
        torch.save(content, temporary)
        flush(temporary)
    total = sha256(file)
    write_json({"sha256": total, **more}, card(file))
    flush(card(file))
    flush(file.parent)
    return total


def read(file: Path, total: str) -> dict[str, Any]:
    """What :func:`write` saved with this SHA-256, on the CPU."""
    if sha256(file) != total:
        raise ValueError("its bytes are not those that were written")
    return torch.load(file, map_location="cpu", weights_only=True)


def remove(file: Path) -> None:
    """Remove a file and its card."""
    file.unlink()
    card(file).unlink(missing_ok=True)


DIVERGED = "diverged.json"


class CheckpointManager:
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
        optimizer_step: OptimizerStep,
        detector: DivergenceDetector,
        state: State,
    ):
        self.objective, self.settings, self.processes = objective, settings, processes
        self.optimizer_step, self.detector, self.state = optimizer_step, detector, state
        self.identity = training_identity(objective, settings)
        self.folder = run_folder(Path(settings.run_dir), self.identity, processes.first)
        self.refuse_diverged()
        self.lock = hold(self.folder / ".lock", str(self.folder)) if processes.first else None
        if processes.first:
            # Gone, if the process that it had to wait for has finished and deleted the folder.
            write_json(self.identity, self.folder / IDENTITY)
            (self.folder / FINISHED).unlink(missing_ok=True)  # more epochs may follow
        self.checkpoints = Checkpoints(self.folder, delete_old=processes.first)
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
            modules, optimizers = objective.modules(), self.optimizer_step.optimizers
            self.checkpoints.save(
                {
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
            )
        # One that left meanwhile would have the first killed by what watches over them all.
        self.processes.barrier(self.objective.compute.device)
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
            f"{objective.stage}.epochs: {self.settings.cfg['epochs']}. Raise it, or delete the "
            "folder to train anew.",
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
        """Save the weights when the selection metric is the best so far."""
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
        note = {"message": str(error), "settings": divergence_settings(self.settings.cfg)}
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
            note["settings"] != divergence_settings(self.settings.cfg),
            f"{note['message']} This happened before and nothing has changed since: to try the "
            f"same again, delete {file}.",
        )
