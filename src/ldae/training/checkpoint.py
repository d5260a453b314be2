"""Checkpoints: ``checkpoint-<step>.pt`` in a run's folder, written atomically, two kept."""

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from ldae.errors import UserError
from ldae.files import atomic

KEPT = 2
NAME = re.compile(r"checkpoint-(\d+)\.pt")
# What torch.load raises for files that are cut short, garbled, or no checkpoints at all.
CORRUPT = (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError, KeyError)

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is a dict of tensors, numbers and strings, so ``weights_only`` loads it. Weights of
    the best epoch lie beside it in ``best-<step>.pt``, named by the checkpoint's ``best``.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".tmp*.pt"):  # of a killed process
            leftover.unlink()

    def steps(self) -> list[int]:
        """Steps with a checkpoint, ascending."""
        names = (NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def path(self, step: int) -> Path:
        """File of a step's checkpoint."""
        return self.folder / f"checkpoint-{step}.pt"

    def save(self, content: dict[str, Any]) -> None:
        """Write the checkpoint of ``content["step"]`` and remove all but the last two."""
        with atomic(self.path(content["step"])) as temporary:
            torch.save(content, temporary)
        for step in self.steps()[:-KEPT]:
            self.path(step).unlink()
        self._prune_best(content["step"])

    def latest(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read, on the CPU; None if there is none.

        One that cannot be read is reported and skipped for the one before.
        """
        for step in reversed(self.steps()):
            try:
                content = torch.load(self.path(step), map_location="cpu", weights_only=True)
                if content["step"] == step:
                    return content
                raise ValueError("its step is not the one of its name")
            except CORRUPT as error:
                log.warning(
                    "%s cannot be read (%s); trying the one before.", self.path(step), error
                )
        return None

    def save_best(self, step: int, state: dict[str, torch.Tensor]) -> str:
        """Write the weights of the best epoch so far; return the file's name."""
        name = f"best-{step}.pt"
        with atomic(self.folder / name) as temporary:
            torch.save(state, temporary)
        self._prune_best(step)
        return name

    def _prune_best(self, now: int) -> None:
        """Keep what a checkpoint may name: the newest best file at its step, and the newest now."""
        files = {int(path.stem.split("-")[1]): path for path in self.folder.glob("best-*.pt")}
        kept = {
            max((step for step in files if step <= moment), default=None)
            for moment in (*self.steps(), now)
        }
        for step, path in files.items():
            if step not in kept:
                path.unlink()

    def load_best(self, name: str) -> dict[str, torch.Tensor]:
        """Weights written by :meth:`save_best`.

        Raises:
            UserError: the file is gone or garbled.
        """
        try:
            return torch.load(self.folder / name, map_location="cpu", weights_only=True)
        except CORRUPT as error:
            raise UserError(
                f"The best weights {self.folder / name} cannot be read ({error}). Delete the "
                f"folder {self.folder} and train again."
            ) from error


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        nested = isinstance(value, dict)
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def refuse_difference(saved: dict[str, Any], current: dict[str, Any], folder: Path) -> None:
    """Raise :class:`UserError` naming every key in which a run differs from its checkpoint."""
    differing = [
        f"{key} ({saved.get(key)!r} in the checkpoint, {current.get(key)!r} now)"
        for key in sorted(saved.keys() | current.keys())
        if saved.get(key) != current.get(key)
    ]
    if differing:
        raise UserError(
            f"The checkpoints in {folder} belong to another training: {'; '.join(differing)}. "
            "Restore the setting, or delete the folder to train anew."
        )
