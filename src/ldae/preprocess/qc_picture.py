"""QC picture of a scan: slices of the native and of the registered head with their outlines.

One WebP holds square panels in seven columns, the slices, and six rows: axial, coronal and sagittal
of the native head, then of the registered brain. The template's picture (:func:`write_template`)
has three rows, whose panels are cut like those of every registered brain, so that a page can show
one in place of the other. All are in radiological convention: the subject's right is on the left of
axial and coronal panels, anterior on the left of sagittal ones.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ldae.files import atomic, sha256
from ldae.preprocess._ants import ants
from ldae.preprocess.qc_layout import PLANES, SLICES

PANEL = 200  # pixels, side of a panel
FIELD = 200.0  # mm, side of a panel: the length of an adult's head
WHITE = 220  # grey level of the intensity that is shown as white, so that outlines stand out
QUALITY, METHOD = 75, 2  # of the WebP; a slower method saves 4 %
CHECKSUM = 16  # first digits of the SHA-256 that name a picture
LETTER = 16  # pixels, height of L and R
LETTER_COLOUR = (170, 170, 170)
# Yellow and orange-red: neither is grey, both are bright, and colour-blind people tell them apart
MASK_COLOUR, TEMPLATE_COLOUR = (255, 221, 0), (255, 92, 61)
_AXIS = {"axial": 2, "coronal": 1, "sagittal": 0}
EDGE = 0.02  # of the mask's voxels on either side that do not count for its extent


@dataclass(frozen=True)
class Head:
    """An image, the mask to outline on it (same grid), and the intensity shown as white."""

    image: ants.ANTsImage
    mask: ants.ANTsImage
    limit: float

    @classmethod
    def native(cls, image: ants.ANTsImage, mask: ants.ANTsImage) -> "Head":
        """A head or a brain before registration, and its brain mask."""
        inside = image.numpy()[mask.numpy() > 0]
        return cls(image, mask, float(np.percentile(inside, 99)))

    @classmethod
    def registered(cls, image: ants.ANTsImage, mask: ants.ANTsImage) -> "Head":
        """A brain on the template's grid, and the template's mask."""
        return cls(image, mask, float(np.percentile(image.numpy(), 99.5)))


def write_picture(path: Path, native: Head, registered: Head) -> str:
    """Draw a scan: its native head with its brain mask, its registered brain with the template's.

    Returns:
        The picture's checksum: the first ``CHECKSUM`` digits of the file's SHA-256.
    """
    rows = [_rows(native, MASK_COLOUR), _rows(registered, TEMPLATE_COLOUR)]
    _write(path, np.concatenate(rows))
    return sha256(path)[:CHECKSUM]


def write_template(path: Path, template: Head) -> None:
    """Draw the template as :func:`write_picture` draws a registered brain."""
    _write(path, _rows(template, TEMPLATE_COLOUR))


def _write(path: Path, pixels: np.ndarray) -> None:
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, "WEBP", quality=QUALITY, method=METHOD)


def _rows(head: Head, colour: tuple[int, int, int]) -> np.ndarray:
    """Panels of one head (3 * PANEL, SLICES * PANEL, 3), uint8."""
    values, mask, spacing = _to_ras(head)
    ends = [_extent(mask, axis) for axis in range(3)]
    centre = [(low + high) / 2 for low, high in ends]
    rows = []
    for plane in PLANES:
        axis = _AXIS[plane]
        others = [other for other in range(3) if other != axis]
        where = [centre[other] for other in others], [spacing[other] for other in others]
        panels = []
        for number, cut in enumerate(_cuts(*ends[axis], reverse=plane == "sagittal")):
            slices = (np.moveaxis(array, axis, 0)[cut] for array in (values, mask))
            grey, inside = (_panel(piece, *where) for piece in _as_grey(*slices, head.limit))
            panel = _outlined(grey, inside >= 128, colour)
            panels.append(_lettered(panel, _letters(plane, number)))
        rows.append(np.concatenate(panels, axis=1))
    return np.concatenate(rows)


def _as_grey(values: np.ndarray, mask: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """A slice and its mask as uint8; inside the mask 255."""
    grey = np.clip(values / max(limit, 1e-9) * WHITE, 0, 255).astype(np.uint8)
    return grey, mask.astype(np.uint8) * 255


def _extent(mask: np.ndarray, axis: int) -> tuple[float, float]:
    """First and last index of a mask along an axis, without ``EDGE`` of its voxels on each side.

    Crumbs of a mask far from the brain thus move no slice. An empty mask extends over the image.
    """
    counts = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    if not counts.any():
        return 0.0, float(len(counts) - 1)
    share = np.cumsum(counts) / counts.sum()
    low, high = np.searchsorted(share, EDGE), np.searchsorted(share, 1 - EDGE)
    return float(low), float(high)


def _cuts(low: float, high: float, reverse: bool) -> Iterator[int]:
    """Indices of the slices, from inferior, posterior and, ``reverse``, from the right."""
    places = np.linspace(low, high, SLICES + 2)[1:-1]
    return (round(float(place)) for place in (places[::-1] if reverse else places))


def _letters(plane: str, number: int) -> dict[tuple[float, float], str]:
    """Letter by its place in the panel, as fractions of its side from the left and the top."""
    if plane != "sagittal":
        return {(0.05, 0.5): "R", (0.95, 0.5): "L"}
    side = number - SLICES // 2
    return {(0.05, 0.07): "R" if side < 0 else "L"} if side else {}


def _lettered(panel: np.ndarray, letters: dict[tuple[float, float], str]) -> np.ndarray:
    picture = Image.fromarray(panel)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(LETTER)
    for (x, y), letter in letters.items():
        draw.text((x * PANEL, y * PANEL), letter, LETTER_COLOUR, font, anchor="mm")
    return np.asarray(picture)


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


def _panel(plane: np.ndarray, centre: Sequence[float], spacing: Sequence[float]) -> np.ndarray:
    """A slice as a square panel of ``FIELD`` mm around ``centre``; black outside the image.

    Args:
        plane: uint8; first axis to the right or anterior, which are on the panel's left, second
            axis anterior or superior, which are above.
        centre: Of the panel, voxels.
        spacing: mm a voxel.
    """
    rows = plane[::-1, ::-1].T
    middle = [count - 0.5 - at for count, at in zip(plane.shape, centre, strict=True)]
    half = [FIELD / 2 / step for step in spacing]
    low = [max(0, math.ceil(h - m)) for m, h in zip(middle, half, strict=True)]
    ends = zip(middle, half, plane.shape, strict=True)
    high = [max(0, math.ceil(m + h - count)) for m, h, count in ends]
    padded = np.pad(rows, [(low[1], high[1]), (low[0], high[0])])
    corner = [m - h + pad for m, h, pad in zip(middle, half, low, strict=True)]
    box = (*corner, corner[0] + 2 * half[0], corner[1] + 2 * half[1])
    picture = Image.fromarray(padded)
    return np.asarray(picture.resize((PANEL, PANEL), Image.Resampling.BICUBIC, box=box))


def _outlined(grey: np.ndarray, inside: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A panel in RGB with a line of two pixels, one on each side of the edge of ``inside``."""
    edge = np.zeros(inside.shape, bool)
    for along, across in ((inside, edge), (inside.T, edge.T)):
        differs = along[1:] != along[:-1]
        across[1:] |= differs
        across[:-1] |= differs
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    rgb[edge] = colour
    return rgb
