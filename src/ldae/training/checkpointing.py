"""Checkpoint manager: save, resume, best weights, refusal to repeat a divergence.

``<run_dir>/<digest of the identity>`` holds

    checkpoint-<step>.pt       the last two
    best-<step>.pt             weights of the best epochs that these checkpoints name
    <either>.json              its SHA-256; of a checkpoint also ``best``, the weights it names
    identity.json              see :mod:`ldae.training.run_identity`
    diverged.json              the message of a divergence, and the settings that led to it
    history.tsv                the epochs so far
    finished                   empty: the model is written
    .lock                      held by the process that writes here

Files are flushed to the disk, not only to its cache, and their SHA-256 is checked before they are
used: a flipped bit in a tensor would otherwise be loaded without any error.
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
from ldae.config import section_name
from ldae.errors import UserError, require
from ldae.files import atomic, flush, read_json, sha256, write_json
from ldae.locks import acquire_lock
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
DIVERGED = "diverged.json"


class Checkpoints:
    """Checkpoint files of one training.

    A checkpoint is a dict of tensors, numbers and strings, so ``weights_only`` loads it. Its
    ``best`` is None, or has the name (``file``) and SHA-256 (``sha256``) of the file of the best
    weights.
    """

    def __init__(self, folder: str | Path, delete_old: bool = True):
        """Use ``folder``; ``delete_old`` removes partial files of a killed process from it."""
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
        """Load the newest intact checkpoint on the CPU; None if none was ever finished.

        A damaged one is reported and skipped for the one before. Without its .json a checkpoint
        was never finished.

        Raises:
            OSError, MemoryError: the disk or the machine fails; the file may be intact.
            UserError: there are checkpoints, but all are damaged.
        """
        finished = [step for step in self.steps() if card(self.path(step)).is_file()]
        for step in reversed(finished):
            try:
                return self.load(step)
            except (ValueError, KeyError, TypeError) as error:
                log.warning("%s is damaged (%s); trying the one before.", self.path(step), error)
        require(
            not finished,
            f"All checkpoints in {self.folder} are damaged: steps {finished}. Put back a copy of "
            "one, with the .json beside it, or delete the folder to train anew.",
        )
        return None

    def load(self, step: int) -> dict[str, Any]:
        """Load the checkpoint of a step on the CPU.

        Raises:
            ValueError, KeyError, TypeError: the file or its .json is damaged.
        """
        file = self.path(step)
        content = read(file, read_json(card(file))["sha256"])
        if content["step"] != step:
            raise ValueError("its step differs from the one in its name")
        return content

    def last_good(self) -> str:
        """The newest checkpoint, in words for an error message."""
        steps = self.steps()
        return f"{self.path(steps[-1]).name} in {self.folder} is kept" if steps else "none saved"

    def save_best(self, step: int, state: dict[str, torch.Tensor]) -> dict[str, str]:
        """Write the weights of the best epoch so far; return ``file`` and ``sha256``."""
        file = self.folder / f"best-{step}.pt"
        named = {"file": file.name, "sha256": write(state, file)}
        self.delete_best(but=file.name)
        return named

    def delete_best(self, but: str | None = None) -> None:
        """Remove all best weights that no checkpoint names, except the file ``but``.

        ``but`` is for weights that the next checkpoint will name. The step in a file's name does
        not matter. After a resume the folder may hold weights of a later epoch; that epoch is
        trained once more, and on a GPU need not become the best again.
        """
        kept = {but, *(best["file"] for best in self.named_best())}
        for path in self.folder.glob("best-*.pt"):
            if path.name not in kept:
                remove(path)

    def resume_from(self, step: int) -> None:
        """Set aside the damaged or unfinished checkpoints after ``step``, as ``damaged-...``.

        Left in place, they would count among the last two. Best weights that only they name are
        removed.
        """
        for later in (later for later in self.steps() if later > step):
            for file in (self.path(later), card(self.path(later))):
                if file.is_file():
                    file.replace(file.with_name(f"damaged-{file.name}"))
        self.delete_best()

    def named_best(self) -> list[dict[str, Any]]:
        """The best weights that the checkpoints name, newest checkpoint first."""
        found = []
        for step in reversed(self.steps()):
            try:
                found.append(read_json(card(self.path(step)))["best"])
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                log.warning("%s cannot be read.", card(self.path(step)))
        return [best for best in found if best]

    def sound_best(self, best: dict[str, Any]) -> dict[str, Any] | None:
        """``best`` if its file is intact, else an older one that is; None if all are damaged."""
        for candidate in (best, *self.named_best()):
            file = self.folder / candidate["file"]
            if file.is_file() and sha256(file) == candidate["sha256"]:
                return candidate
        return None

    def load_best(self, best: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Load weights written by :meth:`save_best`; raise ValueError if the file has changed."""
        return read(self.folder / best["file"], best["sha256"])


def card(file: Path) -> Path:
    """Path of the .json beside a file, which holds its SHA-256."""
    return file.with_name(f"{file.name}.json")


def write(content: dict[str, Any], file: Path, **more: Any) -> str:
    """Save ``content`` and its card; return its SHA-256.

    After a power cut the file is there as a whole or not at all.
    """
    card(file).unlink(missing_ok=True)  # that of an earlier file of this name
    with atomic(file) as temporary:
        torch.save(content, temporary)
        flush(temporary)
    file_hash = sha256(file)
    write_json({"sha256": file_hash, **more}, card(file))
    flush(card(file))
    flush(file.parent)
    return file_hash


def read(file: Path, file_hash: str) -> dict[str, Any]:
    """Load on the CPU what :func:`write` saved; raise ValueError if its SHA-256 differs."""
    if sha256(file) != file_hash:
        raise ValueError("its SHA-256 differs from the one recorded when it was written")
    return torch.load(file, map_location="cpu", weights_only=True)


def remove(file: Path) -> None:
    """Remove a file and its card."""
    file.unlink()
    card(file).unlink(missing_ok=True)


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
        """Release the lock of the folder."""
        if self.lock:
            self.lock.release()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is older than ``checkpoint_seconds``."""
        return time.monotonic() - self.saved > self.settings.checkpoint_seconds

    def save(self) -> None:
        """Write a checkpoint of everything; all processes wait until it is on the disk."""
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
        # If another process ended meanwhile, the launcher or srun might kill the first one.
        self.processes.barrier(self.objective.compute.device)
        self.saved = time.monotonic()

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
