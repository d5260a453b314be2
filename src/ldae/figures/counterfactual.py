"""Manipulation compared with the true counterfactual, by strength (synthetic cohorts only)."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae.errors import require
from ldae.figures.strength_lines import VARIANTS, colour, draw_line, legend_marks
from ldae.figures.style import GREY, LIGHT, PAGE, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, interval

INPUTS = {
    "table": "means by method and strength (counterfactual.tsv)",
    "differences": "paired differences from α = 0 (counterfactual_differences.tsv)",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
CEILINGS = {"true_code": (0, (5, 1.5, 1, 1.5)), "truth": (0, (1, 1))}
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
    """Four panels against alpha; level lines: the true code with the scan's own z_T, the truth."""
    key = ("direction", "method", "alpha", "region", "metric", "ci_low", "ci_high", "n_scans")
    table = read_table(inputs["table"], (*key, "value", "n_subjects"))
    gaps = read_table(inputs["differences"], (*key, "difference", "reference"))
    gaps = gaps[gaps["reference"] == "none"].rename(columns={"difference": "value"})
    figure = new_figure(PAGE, 104)
    grid = figure.add_gridspec(
        2, 2, left=0.095, right=0.985, top=0.885, bottom=0.085, wspace=0.28, hspace=0.32
    )
    drawn = []
    for index, (region, metric, gap, label) in enumerate(PANELS):
        ax = figure.add_subplot(grid[divmod(index, 2)])
        part = gaps if gap else table
        part = part[(part["region"] == region) & (part["metric"] == metric)]
        require(len(part) > 0, f"{inputs['table']} has no {metric} of the region {region}.")
        scale = 1e3 if gap else 1.0
        for direction, mine in part.groupby("direction", sort=False):
            _lines(ax, mine, direction, scale)
        ax.axhline(0, color=GREY, lw=0.7, zorder=0)
        ax.set(xlabel=r"Strength $\alpha$" if index > 1 else "", ylabel=label)
        ax.grid(axis="y", color=LIGHT)
        letter(ax, "abcd"[index], dx=-13)
        drawn.append(part)
    _legend(figure, table)
    data = pd.concat(drawn, ignore_index=True)
    return Drawing(figure, data, "Manipulation against the true counterfactual", _body(table, gaps))


def _lines(ax: Axes, table: pd.DataFrame, direction: str, scale: float) -> None:
    """One line per variant of manipulation, level lines for the methods without a strength."""
    for place, variant in enumerate(VARIANTS):
        draw_line(ax, table[table["method"] == variant], direction, variant, place - 1, scale)
    for method, line in CEILINGS.items():
        mine = table[table["method"] == method]
        for value in mine["value"]:
            if method != "truth" or mine["metric"].iloc[0].endswith("_change"):
                ax.axhline(scale * value, color=colour(direction), lw=0.9, ls=line)


def _legend(figure, table: pd.DataFrame) -> None:
    marks = legend_marks(table["direction"].drop_duplicates())
    names = {"true_code": "true code", "truth": "truth"}
    for method, line in CEILINGS.items():
        marks.append(Line2D([], [], color="black", ls=line, lw=0.9, label=names[method]))
    figure.legend(
        handles=marks,
        ncols=len(marks),
        loc="upper left",
        bbox_to_anchor=(0.02, 1.0),
        columnspacing=0.9,
        handlelength=2.2,
    )


def _body(table: pd.DataFrame, gaps: pd.DataFrame) -> str:
    text = (
        "Scans of a synthetic cohort against the same head, pose and noise with the atrophy that "
        "the person would have at the same age with the other diagnosis. (a) Correlation over the "
        "brain's voxels of the change from α = 0 with the true change, as the autoencoder shows "
        "it; (b, c) mean squared error to the autoencoder's reconstruction of the truth, below "
        "zero where moving y_sem brings the image nearer to it than leaving it alone; (d) fluid in "
        "the ventricles' region. True code: y_sem of the counterfactual scan with the z_T of the "
        "real one, what the encoder sees of the truth. Means with 95 % intervals from resampled "
        "subjects."
    )
    mine = table[(table["region"] == "brain") & (table["metric"] == "change_correlation")]
    for direction, part in mine.groupby("direction", sort=False):
        best = part[part["method"] == "plain"].sort_values("value").iloc[-1]
        text += (
            f" {direction.replace(' to ', ' → ')}, along the classifier: correlation "
            f"{interval(best['value'], best['ci_low'], best['ci_high'], 2)} at best, at α = "
            f"{best['alpha']:g}"
        )
        gap = gaps[(gaps["direction"] == direction) & (gaps["method"] == "plain")]
        gap = gap[(gap["region"] == "ventricles") & (gap["metric"] == "mse_to_ae")]
        gap = gap[gap["alpha"] == best["alpha"]].iloc[0]
        text += (
            "; MSE in the ventricles' region less that of α = 0 "
            f"{interval(gap['value'], gap['ci_low'], gap['ci_high'], 4)} there "
            f"({count(int(best['n_scans']), 'scan')} of "
            f"{count(int(best['n_subjects']), 'subject')})."
        )
    return text
