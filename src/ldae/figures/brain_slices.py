"""Mosaics of brain slices: one scale in mm for all panels, orientation letters, scale bar.

Volumes are arrays (X, Y, Z) on the template's grid, axes pointing right, anterior and superior.
Slices are shown in radiological convention: the subject's right is on the left of axial and coronal
panels, anterior on the left of sagittal ones. Pixels are voxels: without interpolation, no picture
shows more detail than the arrays hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ldae.errors import require
from ldae.figures.style import BRAIN, BRIGHT, INK, PAGE, new_figure

PLANES = ("axial", "coronal", "sagittal")
# Where the planes cut the brain's bounding box, as a fraction of its length: body of the lateral
# ventricles (axial), body of the hippocampi (coronal), beside the midline through one lateral
# ventricle (sagittal).
CUTS = {"axial": 0.54, "coronal": 0.49, "sagittal": 0.55}
_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
_SIDES = {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}


@dataclass(frozen=True)
class Window:
    """Crop of the volumes to draw: a box around the brain and one slice per plane.

    Attributes:
        box: (start, stop) in voxels of each axis.
        cuts: Voxel index of the sagittal, the coronal and the axial slice.
    """

    box: tuple[tuple[int, int], ...]
    cuts: tuple[int, int, int]

    @classmethod
    def around(cls, volumes: np.ndarray, margin: int = 1) -> "Window":
        """The smallest box that holds the brain of all volumes (..., X, Y, Z), plus ``margin``.

        The brain is where the mean of the volumes exceeds 5 % of its maximum.

        Raises:
            UserError: every voxel is zero.
        """
        mean = volumes.reshape(-1, *volumes.shape[-3:]).mean(axis=0, dtype=np.float64)
        inside = mean > 0.05 * mean.max()
        require(inside.any(), "The volumes to draw are empty: every voxel is zero.")
        box, cuts = [], []
        for axis, plane in enumerate(("sagittal", "coronal", "axial")):
            others = tuple(other for other in range(3) if other != axis)
            found = np.flatnonzero(inside.any(axis=others))
            low, high = int(found[0]), int(found[-1]) + 1
            cuts.append(low + int(CUTS[plane] * (high - low)))
            box.append((max(low - margin, 0), min(high + margin, mean.shape[axis])))
        return cls(tuple(box), tuple(cuts))

    def size(self, plane: str) -> tuple[int, int]:
        """Width and height of a slice, in voxels."""
        x, y, z = (stop - start for start, stop in self.box)
        return {"axial": (x, y), "coronal": (x, z), "sagittal": (y, z)}[plane]

    def slice(self, volume: np.ndarray, plane: str) -> np.ndarray:
        """One slice of a volume (X, Y, Z) as a picture (rows, columns), upper row first."""
        (x0, x1), (y0, y1), (z0, z1) = self.box
        part = np.asarray(volume, dtype=np.float32)
        part = np.take(part, self.cuts[_AXIS[plane]], axis=_AXIS[plane])
        window = {
            "axial": (slice(x0, x1), slice(y0, y1)),
            "coronal": (slice(x0, x1), slice(z0, z1)),
            "sagittal": (slice(y0, y1), slice(z0, z1)),
        }[plane]
        return part[window][::-1, ::-1].T


def intensity_limits(volumes: np.ndarray, quantile: float = 99.8) -> tuple[float, float]:
    """Intensities drawn black and white: 0, and a percentile of the positive voxels (else 1)."""
    values = np.asarray(volumes)
    return 0.0, float(np.percentile(values[values > 0], quantile)) if (values > 0).any() else 1.0


def difference_limit(differences: np.ndarray, quantile: float = 99.8) -> float:
    """Upper end of a scale of differences: a percentile of their non-zero sizes, never zero."""
    values = np.abs(np.asarray(differences))
    values = values[values > 0]
    return float(np.percentile(values, quantile)) if values.size else 1e-6


class Mosaic:
    """A page of panels in rows and columns, all at one scale (mm on paper per voxel).

    Args:
        widths: Width of each column in voxels.
        heights: Height of each row in voxels.
        spacing: mm per voxel.
        column_gaps: mm before each column but the first.
        row_gaps: mm before each row but the first.
        left, right, top, bottom: Margins in mm for labels and colour bars.
        page: Width of the figure in mm.
        max_scale: Upper limit of mm on paper per mm of tissue, lest few panels become huge.
    """

    def __init__(
        self,
        widths: Sequence[int],
        heights: Sequence[int],
        spacing: float,
        column_gaps: Sequence[float] | float = 0.6,
        row_gaps: Sequence[float] | float = 0.6,
        left: float = 16.0,
        right: float = 13.0,
        top: float = 8.0,
        bottom: float = 2.0,
        page: float = PAGE,
        max_scale: float = 0.24,
    ):
        self.spacing = spacing
        gaps_x = self._gaps(column_gaps, len(widths))
        gaps_y = self._gaps(row_gaps, len(heights))
        scale = min((page - left - right - sum(gaps_x)) / sum(widths), max_scale * spacing)
        self.width = left + right + sum(gaps_x) + scale * sum(widths)
        self.height = top + bottom + sum(gaps_y) + scale * sum(heights)
        self.figure: Figure = new_figure(self.width, self.height)
        self._x = self._edges(widths, gaps_x, left, scale)
        self._y = self._edges(heights, gaps_y, top, scale)
        self.axes: dict[tuple[int, int], Axes] = {}
        self.pictures: dict[str, np.ndarray] = {}  # the plotted data, by row and column from 0

    @staticmethod
    def _gaps(gaps: Sequence[float] | float, count: int) -> list[float]:
        return [gaps] * (count - 1) if isinstance(gaps, int | float) else list(gaps)

    @staticmethod
    def _edges(sizes, gaps, start, scale) -> list[tuple[float, float]]:
        edges = []
        for size, gap in zip(sizes, [0.0, *gaps], strict=True):
            begin = (edges[-1][1] if edges else start) + gap
            edges.append((begin, begin + size * scale))
        return edges

    def _axes(self, x0: float, x1: float, y0: float, y1: float) -> Axes:
        """Axes at mm from the upper left corner of the page."""
        box = [x0 / self.width, 1 - y1 / self.height]
        return self.figure.add_axes([*box, (x1 - x0) / self.width, (y1 - y0) / self.height])

    def show(self, row: int, column: int, picture: np.ndarray, low, high, cmap=BRAIN) -> Axes:
        """Draw one picture, centred in its cell; the background is black or the map's zero."""
        ax = self._axes(*self._x[column], *self._y[row])
        ax.set_facecolor(
            "black" if cmap == BRAIN else ScalarMappable(cmap=cmap).cmap(0.0 if low == 0 else 0.5)
        )
        ax.imshow(picture, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set_visible(False)
        cell = self._x[column], self._y[row]
        ratio = (cell[0][1] - cell[0][0]) / (cell[1][1] - cell[1][0])
        rows, columns = picture.shape
        extra_x = max(rows * ratio - columns, 0) / 2
        extra_y = max(columns / ratio - rows, 0) / 2
        ax.set_xlim(-0.5 - extra_x, columns - 0.5 + extra_x)
        ax.set_ylim(rows - 0.5 + extra_y, -0.5 - extra_y)
        ax.set_aspect("auto")
        self.axes[row, column] = ax
        self.pictures[f"row{row}_column{column}"] = picture
        return ax

    def sides(self, row: int, column: int, plane: str, colour: str = "white") -> None:
        """Letters for the directions on the left and right of a panel."""
        ax = self.axes[row, column]
        for x, text, align in zip((0.03, 0.97), _SIDES[plane], ("left", "right"), strict=True):
            ax.text(
                x, 0.97, text, transform=ax.transAxes, color=colour, fontsize=6, ha=align, va="top"
            )

    def scale_bar(self, row: int, column: int, millimetres: float = 50.0) -> None:
        """A white bar of this many mm of tissue in the lower left corner of a panel."""
        ax = self.axes[row, column]
        (x0, _), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        length, unit = millimetres / self.spacing, (bottom - top) / 100
        ax.add_patch(
            Rectangle((x0 + 4 * unit, bottom - 5 * unit), length, 1.8 * unit, color="white", lw=0)
        )
        ax.text(
            x0 + 4 * unit,
            bottom - 6 * unit,
            f"{millimetres:.0f} mm",
            color="white",
            fontsize=5,
            ha="left",
            va="bottom",
        )

    def row_label(self, row: int, text: str, rows: int = 1, offset: float = 2.0, **kwargs) -> None:
        """Upright text left of ``rows`` rows; ``offset`` mm from the panels."""
        middle = (self._y[row][0] + self._y[row + rows - 1][1]) / 2
        self._text(
            self._x[0][0] - offset, middle, text, rotation=90, ha="right", va="center", **kwargs
        )

    def column_label(
        self, column: int, text: str, columns: int = 1, row: int = 0, offset: float = 1.0, **kwargs
    ) -> None:
        """Text above ``columns`` columns, ``offset`` mm over the given row."""
        middle = (self._x[column][0] + self._x[column + columns - 1][1]) / 2
        self._text(middle, self._y[row][0] - offset, text, ha="center", va="bottom", **kwargs)

    def bracket(self, column: int, columns: int, row: int = 0, offset: float = 4.6) -> None:
        """A thin line above ``columns`` columns, binding them into a block."""
        x0, x1 = self._x[column][0], self._x[column + columns - 1][1]
        y = 1 - (self._y[row][0] - offset) / self.height
        ax = self.figure.add_axes([x0 / self.width, y, (x1 - x0) / self.width, 1e-9])
        ax.set(xticks=[], yticks=[])
        for side, spine in ax.spines.items():
            spine.set_visible(side == "bottom")

    def corner_letter(self, index: int, column: int, row: int = 0, offset: float = 5.2) -> None:
        """Panel letter (0 is a), ``offset`` mm above the left corner of a panel."""
        self._text(
            self._x[column][0],
            self._y[row][0] - offset,
            "abcdefgh"[index],
            fontsize=9,
            fontweight="bold",
            ha="left",
            va="bottom",
        )

    def note(self, row: int, column: int, text: str) -> None:
        """A short text in the lower left corner of a panel."""
        ax = self.axes[row, column]
        dark = ax.get_facecolor()[:3] < (0.5, 0.5, 0.5)
        ax.text(
            0.03,
            0.03,
            text,
            transform=ax.transAxes,
            color="white" if dark else INK,
            fontsize=5.5,
            ha="left",
            va="bottom",
        )

    def outline(self, row: int, column: int, inside: np.ndarray) -> None:
        """A bright line around a region of a panel: a picture that is at least 0.5 inside."""
        self.axes[row, column].contour(inside, levels=[0.5], colors=[BRIGHT], linewidths=0.7)

    def frame(self, row: int, column: int, text: str) -> None:
        """A bright frame around a panel, and a word in its upper left corner."""
        ax = self.axes[row, column]
        place = {"transform": ax.transAxes, "clip_on": False}
        ax.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor=BRIGHT, lw=1.6, **place))
        style = {"color": BRIGHT, "fontsize": 6.5, "fontweight": "bold", "va": "top"}
        ax.text(0.04, 0.96, text, transform=ax.transAxes, **style)

    def colour_bar(
        self, row: int, rows: int, low: float, high: float, cmap: str, label: str, column: int = -1
    ) -> None:
        """A colour bar right of ``rows`` rows of a column."""
        x = self._x[column][1] + 1.5
        y0, y1 = self._y[row][0], self._y[row + rows - 1][1]
        trim = 0.06 * (y1 - y0)
        ax = self._axes(x, x + 2.0, y0 + trim, y1 - trim)
        mappable = ScalarMappable(Normalize(low, high), cmap)
        bar = self.figure.colorbar(mappable, cax=ax, ticks=MaxNLocator(3, steps=[1, 2, 5, 10]))
        bar.outline.set_linewidth(0.4)
        bar.set_label(label, fontsize=6.5, labelpad=2)
        ax.tick_params(labelsize=5.5, pad=1.5)

    def _text(self, x: float, y: float, text: str, **kwargs) -> None:
        """Text at mm from the upper left corner of the page."""
        self.figure.text(x / self.width, 1 - y / self.height, text, **kwargs)


def display_sentence(spacing: float) -> str:
    """Sentence of every caption on voxel size and orientation of the slices."""
    return f"Voxels of {spacing:g} mm; radiological convention (R on the left)."


def evenly_spaced(total: int, shown: int) -> list[int]:
    """At most ``shown`` indices of ``total``, first and last included, evenly spread."""
    chosen = sorted({round(i) for i in np.linspace(0, total - 1, min(total, shown))})
    assert all(a < b for a, b in pairwise(chosen))
    return chosen
