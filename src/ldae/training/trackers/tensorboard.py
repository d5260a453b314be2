"""TensorBoard: curves and pictures in event files, ``<out_dir>/tensorboard``."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

from ldae.training.trackers.base import Tracker


class TensorBoard(Tracker):
    """Writes event files to ``<out_dir>/tensorboard``, emptied when a training begins at step 0.

    The names of the curves begin with the stage, so that several models are shown together.
    """

    def __init__(self, out_dir: str | Path, stage: str):
        super().__init__(out_dir, stage)
        self.events = self.out_dir / "tensorboard"
        self.writer: SummaryWriter

    def open(self, step: int) -> None:
        """Open the event file; drop points after ``step``, which will be drawn again."""
        if step == 0:
            shutil.rmtree(self.events, ignore_errors=True)
        # Files are named by the second: without the suffix a quick restart would overwrite one.
        self.writer = SummaryWriter(
            str(self.events), purge_step=step + 1, filename_suffix=f".step{step}"
        )

    def points(self, values: dict[str, float], step: int) -> None:
        """Add points to the event file."""
        for name, value in values.items():
            self.writer.add_scalar(f"{self.stage}/{name}", value, step)

    def flush(self) -> None:
        """Write the event file."""
        self.writer.flush()

    def picture(self, image: Image.Image, path: Path, step: int) -> None:
        """Add the picture to the event file."""
        self.writer.add_image(f"{self.stage}/samples", np.asarray(image), step, dataformats="HW")

    def end(self) -> None:
        """Close the event file."""
        self.writer.close()
