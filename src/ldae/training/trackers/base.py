"""Base of the trackers: which points of a training are drawn, and its sample pictures.

Pictures go to ``<out_dir>/samples/epoch-0010.png`` with every tracker, beside the model and
undeclared in the workflow. The folder is emptied when a training begins at step 0.
"""

import shutil
from pathlib import Path
from types import TracebackType

from PIL import Image

from ldae.files import atomic
from ldae.training.callbacks import Callback, Pictures, contact_sheet
from ldae.training.state import FIRST, Row

POINTS = 2000  # about as many steps of a training are drawn as curves


class Tracker(Callback):
    """Callback that keeps curves, pictures and the card of a training.

    It is a context manager around the training and the writing of its model; leaving it closes
    what the tracker has open.

    Args:
        out_dir: The model's folder.
        stage: Name of the training.
    """

    def __init__(self, out_dir: str | Path, stage: str):
        self.out_dir, self.stage = Path(out_dir), stage
        self.samples, self.every = self.out_dir / "samples", 1

    def begin(self, step: int, total: int) -> None:
        """Open the tracker; remove the pictures of an earlier training."""
        if step == 0:
            shutil.rmtree(self.samples, ignore_errors=True)
        self.every = max(1, total // POINTS)
        self.open(step)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Add points to the curves ``step/...``."""
        if step % self.every == 0:
            self.points({f"step/{name}": value for name, value in values.items()}, step)

    def epoch(self, row: Row) -> None:
        """Add points to the curves ``epoch/...``, at the step where the epoch ends."""
        named = {f"epoch/{name}": value for name, value in row.items() if name not in FIRST[:2]}
        self.points(named, int(row["step"]))
        self.flush()

    def show(self, epoch: int, step: int, pictures: Pictures) -> None:
        """Write a PNG, and hand the same picture to the tracker."""
        image, path = contact_sheet(pictures), self.samples / f"epoch-{epoch:04d}.png"
        with atomic(path) as temporary:
            image.save(temporary)
        self.picture(image, path, step)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(error)

    # --- what each tracker does in its own way ----------------------------------------------------

    def open(self, step: int) -> None:
        """Open a training that begins or continues after ``step``."""

    def points(self, values: dict[str, float], step: int) -> None:
        """Add a point to each of these curves."""

    def flush(self) -> None:
        """Hand on what has been kept back."""

    def picture(self, image: Image.Image, path: Path, step: int) -> None:
        """Keep a picture, which also lies in ``path``."""

    def saved(self) -> None:
        """The model and its card are in ``out_dir``."""

    def close(self, error: BaseException | None) -> None:
        """Close what is open; ``error`` ended the training, None: nothing did."""
