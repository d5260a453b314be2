"""Manipulation compared with the true counterfactual, by strength (synthetic cohorts only)."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ldae.errors import require
from ldae.figures.strength_lines import VARIANTS, colour, draw_line, has_content, legend_marks
from ldae.figures.style import GREY, INK, LIGHT, PAGE, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, interval

INPUTS = {
    "table": "means by method and strength (counterfactual.tsv)",
    "differences": "paired differences from α = 0 (counterfactual_differences.tsv)",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
# Methods without a strength: line style and legend label.
CEILINGS = {
    "true_code": ((0, (5, 1.5, 1, 1.5)), "true code"),
    "truth": ((0, (7, 2)), "truth"),
}
# Region, metric, whether the difference from alpha = 0 is drawn rather than the value, label.
PANELS = (
    ("brain", "change_correlation", False, "Correlation of the change\nwith the true one"),
    ("ventricles", "mse_to_ae", True, "MSE at the ventricles\nless that of α = 0 (×10⁻³)"),
    (
        "hippocampus",
        "mse_to_ae",
        True,
        "MSE at the hippocampi\nless that of α = 0 (×10⁻³)",
    ),
    ("brain", "ventricle_change", False, "Ventricles\n(change, ml)"),
)


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Panels against alpha; level lines: the true code with the scan's own z_T, and the truth.

    A panel whose measure has one value throughout is left out.
    """
    key = ("direction", "method", "alpha", "region", "metric", "ci_low", "ci_high", "n_scans")
    table = read_table(inputs["table"], (*key, "value", "n_subjects"))
    gaps = read_table(inputs["differences"], (*key, "difference", "reference"))
    gaps = gaps[gaps["reference"] == "none"].rename(columns={"difference": "value"})
    parts = []
    for region, metric, gap, label in PANELS:
        part = gaps if gap else table
        part = part[(part["region"] == region) & (part["metric"] == metric)]
        require(len(part) > 0, f"{inputs['table']} has no {metric} of the region {region}.")
        if has_content(part):
            parts.append((part, 1e3 if gap else 1.0, label))
    require(bool(parts), f"{inputs['table']} has no measure that differs between strengths.")
    rows = -(-len(parts) // 2)
    height = 16 + 44 * rows
    figure = new_figure(PAGE, height)
    grid = figure.add_gridspec(
        rows, 2, left=0.095, right=0.985, top=1 - 12 / height, bottom=9 / height,
        wspace=0.28, hspace=0.32,
    )  # fmt: skip
    for index, (part, scale, label) in enumerate(parts):
        ax = figure.add_subplot(grid[divmod(index, 2)])
        for direction, mine in part.groupby("direction", sort=False):
            _lines(ax, mine, direction, scale)
        ax.axhline(0, color=GREY, lw=0.7, zorder=0)
        ax.set(xlabel=r"Strength $\alpha$" if index >= len(parts) - 2 else "", ylabel=label)
        ax.grid(axis="y", color=LIGHT)
        letter(ax, "abcd"[index], dx=-13)
    _legend(figure, table)
    data = pd.concat([part for part, *_ in parts], ignore_index=True)
    body = (
        "Manipulated synthetic scans against the same heads made with the other diagnosis. "
        "Correlation of the change from α = 0 with the true one, in the brain. MSE to the truth's "
        "AE reconstruction, below 0 where moving helps. Level lines: the truth; its y_sem with the "
        "scan's z_T. 95 % intervals over subjects."
    )
    title = "Manipulation against the true counterfactual"
    return Drawing(figure, data, title, body, _result(table, gaps))


def _lines(ax: Axes, table: pd.DataFrame, direction: str, scale: float) -> None:
    """One line per variant of manipulation, level lines for the methods without a strength."""
    for place, variant in enumerate(VARIANTS):
        draw_line(ax, table[table["method"] == variant], direction, variant, place - 1, scale)
    for method, (line, _) in CEILINGS.items():
        mine = table[table["method"] == method]
        for value in mine["value"]:
            if method != "truth" or mine["metric"].iloc[0].endswith("_change"):
                ax.axhline(scale * value, color=colour(direction), lw=0.9, ls=line, zorder=0)


def _legend(figure: Figure, table: pd.DataFrame) -> None:
    marks = legend_marks(table["direction"].drop_duplicates())
    for line, label in CEILINGS.values():
        marks.append(Line2D([], [], color=INK, ls=line, lw=0.9, label=label))
    figure.legend(
        handles=marks,
        ncols=len(marks),
        loc="upper left",
        bbox_to_anchor=(0.02, 1.0),
        columnspacing=0.9,
        handlelength=2.2,
    )


def _result(table: pd.DataFrame, gaps: pd.DataFrame) -> str:
    """Best correlation by direction, and the gain at the ventricles with that strength."""
    mine = table[(table["region"] == "brain") & (table["metric"] == "change_correlation")]
    found = []
    for direction, part in mine.groupby("direction", sort=False):
        best = part[part["method"] == "plain"].sort_values("value").iloc[-1]
        gap = gaps[(gaps["direction"] == direction) & (gaps["method"] == "plain")]
        gap = gap[(gap["region"] == "ventricles") & (gap["metric"] == "mse_to_ae")]
        gap = gap[gap["alpha"] == best["alpha"]].iloc[0]
        found.append(
            f"{direction.replace(' to ', ' → ')}: "
            f"{interval(best['value'], best['ci_low'], best['ci_high'], 2)} at α = "
            f"{best['alpha']:g}, where moving changes the MSE at the ventricles by "
            f"{interval(gap['value'], gap['ci_low'], gap['ci_high'], 4)} "
            f"({count(int(best['n_scans']), 'scan')} of "
            f"{count(int(best['n_subjects']), 'subject')})"
        )
    return (
        "Correlation of the change along the classifier with the true change, at best: "
        f"{'; '.join(found)}."
    )
