"""Callbacks of the training loop, and one that writes TensorBoard curves and sample pictures.

A callback must not change what is learnt. Curves go to ``<out_dir>/tensorboard`` and pictures to
``<out_dir>/samples/epoch-0010.png``, beside the model and undeclared in the workflow. Both folders
are emptied when a training begins at step 0.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tensorboardX import SummaryWriter
from torch import Tensor

from ldae.files import atomic
from ldae.training.state import FIRST, Row


@dataclass(frozen=True)
class Pictures:
    """Volumes to show side by side.

    Args:
        columns: Titles of the columns.
        volumes: (rows, columns, X, Y, Z) in [0, 1], on the CPU.
    """

    columns: tuple[str, ...]
    volumes: Tensor


class Callback:
    """Base class: called by the training loop at every step and epoch, it does nothing."""

    def begin(self, step: int, total: int) -> None:
        """A training of ``total`` steps begins, or continues after ``step`` of them."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """A step is done; ``values`` are its losses and gradient norms."""

    def epoch(self, row: Row) -> None:
        """An epoch is done; ``row`` is its row of the history."""

    def show(self, epoch: int, step: int, pictures: Pictures) -> None:
        """Sample pictures were made after an epoch."""

    def end(self) -> None:
        """The training is done or interrupted."""


POINTS = 2000  # about as many steps of a training are drawn as curves
MIN_SIDE = 192  # pixels; least length of a slice's shorter side
HEADER = 14  # pixels; height of the titles


class TensorBoard(Callback):
    """Writes curves and pictures to ``out_dir``.

    Args:
        out_dir: The model's folder.
        stage: Name of the stage, the first part of the names of the curves.
    """

    def __init__(self, out_dir: str | Path, stage: str):
        self.events, self.samples = Path(out_dir) / "tensorboard", Path(out_dir) / "samples"
        self.stage, self.every = stage, 1
        self.writer: SummaryWriter

    def begin(self, step: int, total: int) -> None:
        """Open the event file; drop points after ``step``, which will be drawn again."""
        if step == 0:
            for folder in (self.events, self.samples):
                shutil.rmtree(folder, ignore_errors=True)
        self.every = max(1, total // POINTS)
        # Files are named by the second: without the suffix a quick restart would overwrite one.
        self.writer = SummaryWriter(
            str(self.events), purge_step=step + 1, filename_suffix=f".step{step}"
        )

    def step(self, step: int, values: dict[str, float]) -> None:
        """Add points to the curves ``<stage>/step/...``."""
        if step % self.every == 0:
            for name, value in values.items():
                self.writer.add_scalar(f"{self.stage}/step/{name}", value, step)

    def epoch(self, row: Row) -> None:
        """Add points to the curves ``<stage>/epoch/...``, at the step where the epoch ends."""
        for name, value in row.items():
            if name not in FIRST[:2]:
                self.writer.add_scalar(f"{self.stage}/epoch/{name}", value, row["step"])
        self.writer.flush()

    def show(self, epoch: int, step: int, pictures: Pictures) -> None:
        """Write a PNG, and the same picture to TensorBoard."""
        image = contact_sheet(pictures)
        with atomic(self.samples / f"epoch-{epoch:04d}.png") as temporary:
            image.save(temporary)
        self.writer.add_image(f"{self.stage}/samples", np.asarray(image), step, dataformats="HW")

    def end(self) -> None:
        """Close the event file."""
        self.writer.close()


def contact_sheet(pictures: Pictures) -> Image.Image:
    """Grid of middle axial slices, laid out as the volumes, with titles of the columns."""
    volumes = pictures.volumes
    middle = volumes[..., volumes.shape[-1] // 2]  # (rows, columns, X, Y)
    zoom = -(-MIN_SIDE // min(middle.shape[2:]))
    # Radiological: the image's right is the subject's left. Anterior is up.
    tiles = np.flip(to_bytes(middle).transpose(0, 3, 1, 2), axis=(1, 3))  # (rows, Y, columns, X)
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=3)
    rows, height, columns, width = tiles.shape
    sheet = Image.new("L", (columns * width, rows * height + HEADER))
    sheet.paste(Image.fromarray(tiles.reshape(rows * height, columns * width)), (0, HEADER))
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(pictures.columns):
        pen.text((column * width + 2, 1), name, fill=255)
    return sheet


def to_bytes(values: Tensor) -> np.ndarray:
    """Values in [0, 1] as integers 0 .. 255; values outside are clamped."""
    return (values.clamp(0, 1) * 255).round().byte().numpy()
