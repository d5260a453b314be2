"""Checkpoint files: on the disk, not only in its cache, when written; checked before they are used.

``checkpoint-<step>.pt`` files lie in ``<run_dir>/<digest of the identity>``, two of them kept, and
beside them the weights of the best epochs that they name. ``<file>.json`` beside each holds its
SHA-256: a flipped bit in a tensor would otherwise be loaded without a word.
"""

import logging
import re
from pathlib import Path
from typing import Any

import torch

from ldae.errors import require
from ldae.files import atomic, flush, read_json, sha256, write_json

KEPT = 2
NAME = re.compile(r"checkpoint-(\d+)\.pt")

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is a dict of tensors, numbers and strings, so ``weights_only`` loads it. Its
    ``best`` is None or names the file of the best weights (``file``) and their SHA-256
    (``sha256``).
    """

    def __init__(self, folder: str | Path, tidy: bool = True):
        """Use ``folder``; ``tidy`` removes what a killed process left half-written in it."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".tmp*") if tidy else ():
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
        file = self.path(content["step"])
        write(content, file, best=content["best"])
        for step in self.steps()[:-KEPT]:
            remove(self.path(step))
        self.forget_best()

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
        self.forget_best(but=file.name)
        return named

    def forget_best(self, but: str | None = None) -> None:
        """Remove all best weights that no checkpoint names, ``but`` those not saved in one yet.

        Only the names count: after a resume newer weights may lie there whose epoch is trained
        once more, and on a GPU need not become the best again.
        """
        kept = {but, *(best["file"] for best in self.named_best())}
        for path in self.folder.glob("best-*.pt"):
            if path.name not in kept:
                remove(path)

    def go_on_from(self, step: int) -> None:
        """Set aside checkpoints after a step, which are not whole; forget their best weights.

        Left in place, they would count among those to keep.
        """
        for later in (later for later in self.steps() if later > step):
            for file in (self.path(later), card(self.path(later))):
                if file.is_file():
                    file.replace(file.with_name(f"damaged-{file.name}"))
        self.forget_best()

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
