"""What manipulation changes in the image, measured over all test scans, against its strength."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae.figures.names import lower
from ldae.figures.style import DIAGNOSIS, GREY, LIGHT, PAGE, letter, new_figure
from ldae.figures.text import Drawing, count, interval
from ldae.files import read_table

INPUTS = {"table": "measures by direction and strength (manipulation.tsv)"}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
PANELS = (
    ("change_ventricle_dark_ml", "Change of dark volume in\nthe ventricles' region (ml)"),
    ("change_logit_decoded", "Change of the AD logit of\nthe decoded image"),
    ("ssim_to_unmanipulated", "SSIM to the scan\nat α = 0"),
)


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Three panels against alpha, one line a direction; dotted: the change asked of y_sem."""
    table = read_table(
        inputs["table"],
        ("direction", "alpha", "metric", "value", "ci_low", "ci_high", "n_scans", "n_subjects"),
    )
    wanted = [*(name for name, _ in PANELS), "change_logit_asked"]
    shown = table[table["metric"].isin(wanted)].reset_index(drop=True)
    directions = list(shown["direction"].drop_duplicates())
    figure = new_figure(PAGE, 58)
    grid = figure.add_gridspec(1, 3, left=0.08, right=0.985, top=0.85, bottom=0.15, wspace=0.42)
    for index, (metric, label) in enumerate(PANELS):
        ax = figure.add_subplot(grid[index])
        for place, direction in enumerate(directions):
            mine = shown[shown["direction"] == direction]
            _line(ax, mine[mine["metric"] == metric], _colour(direction), 0.06 * (place - 0.5))
            if metric == "change_logit_decoded":
                asked = mine[mine["metric"] == "change_logit_asked"].sort_values("alpha")
                ax.plot(asked["alpha"], asked["value"], ls=":", lw=1.0, color=_colour(direction))
        if metric.startswith("change"):
            ax.axhline(0, color=GREY, lw=0.7, zorder=0)
        ax.set(xlabel=r"Strength $\alpha$", ylabel=label)
        ax.grid(axis="y", color=LIGHT)
        letter(ax, "abc"[index], dx=-11)
    marks = [
        Line2D([], [], color=_colour(name), marker="o", ms=4, label=name.replace(" to ", " → "))
        for name in directions
    ]
    marks.append(Line2D([], [], color=GREY, ls=":", label="asked of $y_\\mathrm{sem}$ (b)"))
    figure.legend(
        handles=marks,
        ncols=len(marks),
        loc="upper left",
        bbox_to_anchor=(0.07, 1.0),
        columnspacing=1.8,
    )
    return Drawing(figure, shown, "Effect of manipulation against its strength", _body(shown))


def course(table: pd.DataFrame) -> str:
    """Whether the mean change is monotone over alpha, as a sentence.

    Args:
        table: alpha and value of one change (0 at alpha = 0) in one direction.
    """
    table = table[table["alpha"] != 0].sort_values("alpha")
    alphas, values = np.r_[0, table["alpha"]], np.r_[0, table["value"]]
    steps = np.sign(np.diff(values))
    turns = np.flatnonzero(steps == -steps[np.flatnonzero(steps)[0]]) if steps.any() else []
    if len(turns) == 0:
        return f"The mean change is monotone over α = 0 to {alphas[-1]:g}."
    return (
        f"The mean change is not monotone over α = 0 to {alphas[-1]:g}: it turns back at "
        f"α = {alphas[turns[0]]:g}."
    )


def _colour(direction: str) -> str:
    return DIAGNOSIS.get(direction.split(" to ")[-1], GREY)


def _line(ax: Axes, table: pd.DataFrame, colour: str, shift: float) -> None:
    table = table.sort_values("alpha")
    x = table["alpha"] + shift
    ax.vlines(x, table["ci_low"], table["ci_high"], color=colour, lw=1.1)
    ax.plot(x, table["value"], marker="o", ms=4, color=colour, mec="white", mew=0.4)


def _body(table: pd.DataFrame) -> str:
    last = table["alpha"].max()
    text = (
        "Means over test scans with 95 % intervals from resampled subjects; changes are paired, "
        "from α = 0. (a) Volume of dark brain voxels in a fixed box around the lateral ventricles, "
        "a proxy of their size and not a segmentation: expected to fall towards CN and to rise "
        "towards AD. (b) Logit for AD of the decoded image, encoded again (solid), and the change "
        "asked of y_sem, linear by construction (dotted). (c) How far the image moves."
    )
    volume = table[table["metric"] == "change_ventricle_dark_ml"]
    for direction, part in table[table["alpha"] == last].groupby("direction", sort=False):
        mine = part.set_index("metric")
        found = []
        for metric, words, digits in (
            ("change_ventricle_dark_ml", "ml", 2),
            ("change_logit_decoded", "of the logit", 2),
        ):
            if metric in mine.index:
                one = mine.loc[metric]
                found.append(
                    f"{interval(one['value'], one['ci_low'], one['ci_high'], digits)} {words}"
                )
        size = part.iloc[0]
        text += (
            f" {direction.replace(' to ', ' → ')} at α = {last:g}: {' and '.join(found)} "
            f"({count(int(size['n_scans']), 'scan')} of "
            f"{count(int(size['n_subjects']), 'subject')})."
        )
        if "change_ventricle_dark_ml" in mine.index:
            text += f" Ventricles: {lower(course(volume[volume['direction'] == direction]))}"
    return text
