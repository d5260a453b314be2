"""Callbacks of the training loop, and the sample pictures that it hands to them.

A callback must not change what is learnt. Those that keep curves and pictures are in
:mod:`ldae.training.trackers`.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ldae.training.state import Row


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


MIN_SIDE = 192  # pixels; least length of a slice's shorter side
HEADER = 14  # pixels; height of the titles


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
