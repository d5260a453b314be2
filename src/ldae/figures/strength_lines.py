"""Lines against the strength alpha of a manipulation, shared by the figures of manipulation."""

from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae.figures.style import DIAGNOSIS, GREY, INK

# Variants of moving y_sem: marker, line style, filled marker or not, width, legend label.
VARIANTS = {
    "plain": ("o", "-", True, 1.1, "along the classifier"),
    "orthogonal": ("s", (0, (4, 1.6)), False, 1.0, "orthogonal to age"),
    "random": ("^", (0, (1, 1.4)), False, 0.8, "random direction"),
}
OFFSET = 0.008  # of the largest alpha; distance between points that would hide each other


def colour(direction: str) -> str:
    """Colour of the diagnosis moved towards: the last of ``"CN to AD"``."""
    return DIAGNOSIS.get(direction.split(" to ")[-1], GREY)


def draw_line(
    ax: Axes, table: pd.DataFrame, direction: str, variant: str, place: float, scale: float = 1.0
) -> None:
    """Draw estimates and intervals of one direction (``"CN to AD"``) and variant.

    Args:
        ax: The axes.
        table: alpha, value, ci_low, ci_high; rows without a value are left out.
        direction: Gives the colour.
        variant: Key of ``VARIANTS``; gives marker and line.
        place: Steps of ``OFFSET`` to the right of alpha, so that lines do not hide each other;
            none at alpha = 0, where all lines meet.
        scale: Factor on the values.
    """
    shown = table.dropna(subset="value").sort_values("alpha")
    mark, line, filled, width, _ = VARIANTS[variant]
    own = colour(direction)
    x = shown["alpha"] + place * OFFSET * shown["alpha"].max() * (shown["alpha"] > 0)
    ax.vlines(x, scale * shown["ci_low"], scale * shown["ci_high"], color=own, lw=0.8 * width)
    style = {"marker": mark, "ls": line, "lw": width, "ms": 3.6, "mew": 0.7}
    ax.plot(x, scale * shown["value"], color=own, mfc=own if filled else "white", **style)


def has_content(table: pd.DataFrame) -> bool:
    """Whether a measure (column value) differs anywhere, so that a panel has something to show."""
    return table["value"].nunique() > 1


def legend_marks(directions: Iterable[str]) -> list[Line2D]:
    """Legend entries: colours of the directions, then markers and lines of the variants."""
    marks = [
        Line2D([], [], color=colour(name), lw=2, label=name.replace(" to ", " → "))
        for name in directions
    ]
    for mark, line, filled, width, label in VARIANTS.values():
        style = {
            "marker": mark,
            "ls": line,
            "ms": 4,
            "lw": width,
            "mfc": INK if filled else "white",
        }
        marks.append(Line2D([], [], color=INK, label=label, **style))
    return marks
