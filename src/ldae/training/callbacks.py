"""Who is told of a training while it runs. Watching changes nothing of what is learnt.

Curves and pictures of a training while it runs: TensorBoard event files and PNGs.

Both lie beside the model, undeclared in the workflow: ``<out_dir>/tensorboard`` and
``<out_dir>/samples/epoch-0010.png``. They are begun anew when a training begins anew.
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
    """Volumes side by side.

    Args:
        columns: What each column shows.
        volumes: (rows, columns, X, Y, Z) in [0, 1], on the CPU.
    """

    columns: tuple[str, ...]
    volumes: Tensor


class Callback:
    """Told of every step; this one does nothing with it. `training.monitor` has one that does."""

    def begin(self, step: int, total: int) -> None:
        """A training of ``total`` steps begins, or continues after ``step`` of them."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """A step is done: its losses and gradient norms."""

    def epoch(self, row: Row) -> None:
        """An epoch is done: its row of the history."""

    def show(self, epoch: int, step: int, pictures: Pictures) -> None:
        """What the networks can do after an epoch."""

    def end(self) -> None:
        """The training is done or interrupted."""


POINTS = 2000  # about so many steps of a training are drawn
SIDE = 192  # pixels, at least, of a slice's shorter side
HEADER = 14  # pixels


class TensorBoard(Callback):
    """Writes what it is told to ``out_dir``.

    Args:
        out_dir: The model's folder.
        stage: First part of the curves' names.
    """

    def __init__(self, out_dir: str | Path, stage: str):
        self.events, self.samples = Path(out_dir) / "tensorboard", Path(out_dir) / "samples"
        self.stage, self.every = stage, 1
        self.writer: SummaryWriter

    def begin(self, step: int, total: int) -> None:
        """Open the event file; points of steps that will be taken again are dropped."""
        if step == 0:
            for folder in (self.events, self.samples):
                shutil.rmtree(folder, ignore_errors=True)
        self.every = max(1, total // POINTS)
        # Files are named by the second: without the suffix a quick restart would overwrite one.
        self.writer = SummaryWriter(
            str(self.events), purge_step=step + 1, filename_suffix=f".step{step}"
        )

    def step(self, step: int, values: dict[str, float]) -> None:
        """Curves over steps, under ``<stage>/step``."""
        if step % self.every == 0:
            for name, value in values.items():
                self.writer.add_scalar(f"{self.stage}/step/{name}", value, step)

    def epoch(self, row: Row) -> None:
        """Curves over epochs, drawn at their steps, under ``<stage>/epoch``."""
        for name, value in row.items():
            if name not in FIRST[:2]:
                self.writer.add_scalar(f"{self.stage}/epoch/{name}", value, row["step"])
        self.writer.flush()

    def show(self, epoch: int, step: int, pictures: Pictures) -> None:
        """A PNG and the same picture in TensorBoard."""
        image = contact_sheet(pictures)
        with atomic(self.samples / f"epoch-{epoch:04d}.png") as temporary:
            image.save(temporary)
        self.writer.add_image(f"{self.stage}/samples", np.asarray(image), step, dataformats="HW")

    def end(self) -> None:
        """Close the event file."""
        self.writer.close()


def contact_sheet(pictures: Pictures) -> Image.Image:
    """Middle axial slices, a row of columns for each row of volumes, with the columns' names."""
    volumes = pictures.volumes
    middle = volumes[..., volumes.shape[-1] // 2]  # (rows, columns, X, Y)
    zoom = -(-SIDE // min(middle.shape[2:]))
    # Right of the image is the subject's left; anterior is up.
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
    """[0, 1] to 0 .. 255."""
    return (values.clamp(0, 1) * 255).round().byte().numpy()
