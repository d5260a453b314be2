"""Checkpoint files of a training: written whole, with their SHA-256, by a thread of their own.

``<run_dir>/<digest of the identity>`` holds

    checkpoint-<step>.pt       the last two
    best-<step>.pt             weights of the best epochs that these checkpoints name
    <either>.json              its SHA-256; of a checkpoint also ``best``, the weights it names
    identity.json              see :mod:`ldae.training.run_identity`
    diverged.json              the message of a divergence, and the settings that led to it
    history.tsv                the epochs so far
    wandb.json, mlflow.json    the run of that tracker (:mod:`ldae.training.trackers.runs`)
    finished                   empty: the model is written
    .lock                      held by the process that writes here

Files are flushed to the disk, not only to its cache, and their SHA-256 is checked before they are
used: a flipped bit in a tensor would otherwise be loaded without any error.
"""

import hashlib
import logging
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.utils._pytree import tree_map_only

from ldae.errors import require
from ldae.files import atomic, flush, read_json, sha256, write_json

KEPT = 2
NAME = re.compile(r"checkpoint-(\d+)\.pt")
log = logging.getLogger(__name__)


class Checkpoints:
    """Checkpoint files of one training.

    A checkpoint may be written in the background (:meth:`save_later`): one at a time, from a copy
    of the tensors. Every other method that writes or deletes waits for it first.

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
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self.pending: Future[None] | None = None

    def steps(self) -> list[int]:
        """Steps with a checkpoint, ascending."""
        names = (NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def path(self, step: int) -> Path:
        """File of a step's checkpoint."""
        return self.folder / f"checkpoint-{step}.pt"

    def save(self, content: dict[str, Any]) -> None:
        """Write the checkpoint of ``content["step"]`` and remove all but the last two."""
        try:
            self.wait()
        except OSError as error:  # there may be room by now
            log.warning("The checkpoint before was not written (%s).", error)
        self._save(content)

    def save_later(self, content: dict[str, Any]) -> None:
        """As :meth:`save`, in the background. The training may change the tensors meanwhile.

        Raises:
            OSError: the checkpoint before could not be written.
        """
        self.wait()
        copied = tree_map_only(torch.Tensor, on_cpu, content)
        self.pending = self.writer.submit(self._save, copied)

    def wait(self) -> None:
        """Wait until a checkpoint that is written in the background is on the disk.

        Raises:
            OSError: it could not be written.
        """
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """End the thread that writes; a failure is logged: the training ends by it."""
        try:
            self._wait_at_the_end()
        finally:
            self.writer.shutdown()

    def _wait_at_the_end(self) -> None:
        """As :meth:`wait`, where the training ends in any case: a failure is only logged."""
        try:
            self.wait()
        except OSError as error:
            log.error("The last checkpoint was not written (%s).", error)

    def _save(self, content: dict[str, Any]) -> None:
        file = self.path(content["step"])
        write(content, file, best=content["best"])
        for step in self.steps()[:-KEPT]:
            remove(self.path(step))
        self._delete_best()

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
        """The newest checkpoint, in words for an error message; one being written counts."""
        self._wait_at_the_end()
        steps = self.steps()
        return f"{self.path(steps[-1]).name} in {self.folder} is kept" if steps else "none saved"

    def save_best(self, step: int, state: dict[str, torch.Tensor]) -> dict[str, str]:
        """Write the weights of the best epoch so far; return ``file`` and ``sha256``."""
        self.wait()  # it would delete the new file, which its checkpoint does not name
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
        self.wait()
        self._delete_best(but)

    def _delete_best(self, but: str | None = None) -> None:
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
    """Save ``content`` and its card; return its SHA-256; raise OSError if the disk is full.

    After a power cut the file is there as a whole or not at all.
    """
    card(file).unlink(missing_ok=True)  # that of an earlier file of this name
    with atomic(file) as temporary:
        with temporary.open("wb") as stream:
            hashed = HashedStream(stream)
            try:
                torch.save(content, hashed)
            except RuntimeError as error:  # torch's own words for a full disk
                raise hashed.error or error from error
        flush(temporary)
    file_hash = hashed.sha256.hexdigest()
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


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Copy of a tensor in the CPU's memory."""
    return tensor.detach().to("cpu", copy=True)


class HashedStream:
    """Stream that takes the SHA-256 of what is written: the file need not be read again.

    Attributes:
        sha256: Of all bytes so far.
        error: Why the last bytes could not be written; None: they were.
    """

    def __init__(self, stream: BinaryIO):
        self.stream, self.sha256 = stream, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        """Write and hash; torch writes its archives from the first byte to the last."""
        self.sha256.update(data)
        try:
            return self.stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()
