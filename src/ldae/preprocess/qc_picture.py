"""QC picture of a scan: contours of its brain mask on the head, of the template on the brain."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ldae.files import atomic
from ldae.preprocess._ants import ants

PANEL = 280  # pixels, side of a square panel
TITLE = 24  # pixels, height of the line of text
COMPRESSION = 3  # of the PNG, zlib's level: 2.5 times faster than the default, 3 % larger
HEAD_COLOUR, TEMPLATE_COLOUR = (255, 70, 60), (70, 200, 255)


@dataclass(frozen=True)
class Head:
    """An image, the mask to outline on it (same grid), and the intensity shown as white."""

    image: ants.ANTsImage
    mask: ants.ANTsImage
    limit: float


def write_picture(path: Path, native: Head, registered: Head, title: str) -> None:
    """Draw both heads in three planes through the centres of their masks; writes a PNG.

    Row 1 is the native head with its brain mask, row 2 the registered brain with the template's
    mask. The subject's left is on the left.
    """
    canvas = Image.new("RGB", (3 * PANEL, TITLE + 2 * PANEL))
    for row, (head, colour) in enumerate(((native, HEAD_COLOUR), (registered, TEMPLATE_COLOUR))):
        for column, panel in enumerate(_panels(head, colour)):
            canvas.paste(panel, (column * PANEL, TITLE + row * PANEL))
    draw = ImageDraw.Draw(canvas)
    draw.text((8, 5), title, fill=(255, 255, 255), font=ImageFont.load_default(13))
    for row in range(2):
        for column in range(2):
            draw.text(
                (column * PANEL + 6, TITLE + row * PANEL + PANEL // 2),
                "L",
                fill=(160, 160, 160),
                font=ImageFont.load_default(13),
            )
    with atomic(path) as temporary:
        canvas.save(temporary, compress_level=COMPRESSION)


def _panels(head: Head, colour: tuple[int, int, int]) -> list[Image.Image]:
    """Axial, coronal and sagittal panels at the same scale, with anterior or superior up."""
    values, mask, spacing = _to_ras(head)
    middle = [round(float(np.mean(index))) for index in np.nonzero(mask)]
    scale = PANEL / max(size * step for size, step in zip(values.shape, spacing, strict=True))
    panels = []
    for axis in (2, 1, 0):
        steps = [step for other, step in enumerate(spacing) if other != axis]
        grey = np.clip(values.take(middle[axis], axis) / max(head.limit, 1e-9) * 220, 0, 255)
        inside = mask.take(middle[axis], axis) * 255.0
        size = tuple(
            max(1, round(count * step * scale))
            for count, step in zip(grey.shape, steps, strict=True)
        )
        panels.append(_outline(_upscale(grey, size), _upscale(inside, size) >= 128, colour))
    return panels


def _to_ras(head: Head) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Image, mask and spacing (mm) with axes in RAS.

    ITK's coordinates are LPS. An oblique axis is taken for the nearest of the three directions.
    """
    direction = np.asarray(head.image.direction)
    order = [0, 0, 0]
    remaining = np.abs(direction)
    for _ in range(3):
        world, voxel = np.unravel_index(remaining.argmax(), (3, 3))
        order[world] = int(voxel)
        remaining = remaining.copy()
        remaining[world, :] = remaining[:, voxel] = -1
    towards = np.array([-1, -1, 1])  # RAS in LPS coordinates
    flips = [axis for axis in range(3) if direction[axis, order[axis]] * towards[axis] < 0]
    arrays = [np.flip(image.numpy().transpose(order), flips) for image in (head.image, head.mask)]
    return arrays[0], arrays[1] > 0, [head.image.spacing[axis] for axis in order]


def _upscale(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A plane (first axis right, second axis up) as picture rows; ``size`` is (width, height)."""
    rows = np.ascontiguousarray(plane.T[::-1].astype(np.uint8))
    return np.asarray(Image.fromarray(rows).resize(size, Image.Resampling.BICUBIC))


def _outline(grey: np.ndarray, inside: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    """A square panel with ``grey`` in its centre and the edge of ``inside`` in ``colour``."""
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    rgb[inside & ~core] = colour
    panel = Image.new("RGB", (PANEL, PANEL))
    panel.paste(Image.fromarray(rgb), ((PANEL - grey.shape[1]) // 2, (PANEL - grey.shape[0]) // 2))
    return panel
