"""Forest plot: one row a system, estimate and 95 % interval, coloured by kind of system."""

from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae.figures.style import GREY, KINDS, LIGHT, kind_of, system_colour


def draw_forest(
    ax: Axes, table: pd.DataFrame, value: str, labels: Sequence[str], reference: float | None
) -> None:
    """Draw rows from top to bottom.

    Args:
        ax: The axes.
        table: system, ``value``, ci_low, ci_high, indexed from 0; a row without interval is a dot.
        value: Column of the estimate.
        labels: Names of the rows.
        reference: Value at which a dashed line is drawn; None: no line.
    """
    for row, one in table.iterrows():
        colour = system_colour(one["system"])
        ax.plot([one["ci_low"], one["ci_high"]], [row, row], color=colour, lw=1.6,
                solid_capstyle="butt")  # fmt: skip
        ax.plot(one[value], row, "o", ms=5, color=colour, mec="white", mew=0.5)
    if reference is not None:
        ax.axvline(reference, color=GREY, lw=0.8, ls=(0, (3, 2)), zorder=0)
    ax.set(yticks=range(len(table)), yticklabels=labels, ylim=(len(table) - 0.4, -0.6))
    ax.grid(axis="x", color=LIGHT)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def kind_marks(systems: Iterable[str]) -> list[Line2D]:
    """Legend entries of the kinds of these systems, in the order of ``KINDS``."""
    found = {kind_of(name) for name in systems}
    return [
        Line2D([], [], color=colour, marker="o", ms=4, lw=1.6, mec="white", mew=0.5, label=label)
        for key, (label, colour) in KINDS.items()
        if key in found
    ]
