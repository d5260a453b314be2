"""Checkpoints, and the training they belong to: its settings and its identity.

``checkpoint-<step>.pt`` files lie in ``<run_dir>/<digest of the identity>``, written atomically,
two kept. ``identity.json`` beside them says in full what the digest stands for.
"""

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from ldae.errors import UserError
from ldae.files import atomic, digest, read_json, sha256, write_json
from ldae.training.batch_norm import batch_norms
from ldae.training.objective import Objective
from ldae.training.settings import OPERATION, Settings

KEPT = 2
# Keys that may change between two attempts of one run: they do not change what is learnt, only how
# long, how fast, or (precision, micro_batch, processes) by rounding.
FREE = (*OPERATION, "epochs", "micro_batch", "precision", "validate_every")
# Keys of the config that name files a training begins from.
FILES = ("pretrained", "weights")
IDENTITY = "identity.json"
NAME = re.compile(r"checkpoint-(\d+)\.pt")
# What torch.load raises for files that are cut short, garbled, or no checkpoints at all.
CORRUPT = (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError, KeyError)

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is a dict of tensors, numbers and strings, so ``weights_only`` loads it. Weights of
    the best epoch lie beside it in ``best-<step>.pt``, named by the checkpoint's ``best``.
    """

    def __init__(self, folder: str | Path, tidy: bool = True):
        """Use ``folder``; ``tidy`` removes what a killed process left half-written in it."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".tmp*.pt") if tidy else ():
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
                return self.load(step)
            except CORRUPT as error:
                log.warning(
                    "%s cannot be read (%s); trying the one before.", self.path(step), error
                )
        return None

    def load(self, step: int) -> dict[str, Any]:
        """The checkpoint of a step, on the CPU; raises one of ``CORRUPT`` if it is none."""
        content = torch.load(self.path(step), map_location="cpu", weights_only=True)
        if content["step"] != step:
            raise ValueError("its step is not the one of its name")
        return content

    def last_good(self) -> str:
        """The newest checkpoint, in words for a message."""
        steps = self.steps()
        return f"{self.path(steps[-1]).name} in {self.folder} is kept" if steps else "none saved"

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


def training_identity(objective: Objective, settings: Settings) -> dict[str, Any]:
    """All that decides what a training learns; two with the same may share checkpoints.

    These are the config without the ``FREE`` keys (with ``micro_batch``, if a network has batch
    norm), the SHA-256 of files it names as pretrained weights, seed, sources, and the objective's
    data and upstream models.

    Returns:
        Flat dict of JSON values, keys as in ``ldm.learning_rate``.
    """
    # A batch norm's statistics are a micro-batch's: there micro_batch does change what is learnt.
    fixed = {"micro_batch"} if batch_norms(objective.modules().values()) else set()
    kept = {key: value for key, value in settings.cfg.items() if key not in FREE or key in fixed}
    section = flatten({objective.stage: kept})
    files = {
        f"{key}.sha256": sha256(value)
        for key, value in section.items()
        if key.split(".")[-1] in FILES and isinstance(value, str) and Path(value).is_file()
    }
    others = {"seed": settings.seed, "source": settings.fingerprint}
    return section | files | others | flatten(objective.identity())


def run_folder(run_dir: Path, identity: dict[str, Any], first: bool = True) -> Path:
    """Return the folder of an identity's checkpoints in the stage's ``run_dir``.

    The ``first`` process makes it, and warns of folders of other identities, which are left alone,
    and of what they differ in.
    """
    folder = run_dir / digest(identity)
    if not first:
        return folder
    write_json(identity, folder / IDENTITY)
    for other in sorted(run_dir.glob(f"*/{IDENTITY}")):
        if other.parent != folder:
            log.warning(
                "%s holds another training, stopped before its end, which is not continued: %s. "
                "Delete the folder unless you mean to go back to it.",
                other.parent,
                differences(read_json(other), identity, "there"),
            )
    return folder


def warn_of_conditions(then: dict[str, Any], now: dict[str, Any]) -> None:
    """Log what of machine and versions changed since a checkpoint, which is allowed."""
    changed = [f"{key}: {then.get(key)} -> {now[key]}" for key in now if then.get(key) != now[key]]
    if changed:
        log.warning("resumed under other conditions, rounding may differ: %s", changed)


def differences(saved: dict[str, Any], current: dict[str, Any], where: str) -> str:
    """Every key in which two identities differ, with both values; empty if there is none."""
    return "; ".join(
        f"{key} ({saved.get(key)!r} {where}, {current.get(key)!r} now)"
        for key in sorted(saved.keys() | current.keys())
        if saved.get(key) != current.get(key)
    )


def refuse_difference(saved: dict[str, Any], current: dict[str, Any], folder: Path) -> None:
    """Raise :class:`UserError` naming what a checkpoint put into ``folder`` by hand differs in."""
    differing = differences(saved, current, "in the checkpoint")
    if differing:
        raise UserError(
            f"The checkpoints in {folder} belong to another training: {differing}. "
            "Restore the setting, or delete the folder to train anew."
        )
