"""Figure 8: error of predicted visits against the prediction gap, beside trivial baselines."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ldae import systems
from ldae.errors import require
from ldae.figures.style import GREY, LIGHT, PAGE, Drawing, letter, new_figure, system_colour
from ldae.files import read_table
from ldae.labels import count, interval, listing

INPUTS = {
    "table": "means by prediction gap and method (interpolation.tsv)",
}
OPTIONAL = {
    "differences": "paired differences of the LDAE with the baselines, for the text",
    "extrapolation": "means of extrapolated visits by horizon and method (extrapolation.tsv)",
}
DATA = "tsv"
# Method: marker, line style, filled or not.
MARKS = {
    "ldae": ("o", "-", True),
    "ldae_corrected": ("P", "-", False),
    "nearest_visit": ("s", "-", True),
    "voxel_average": ("^", "-", True),
    "latent_lerp": ("v", (0, (4, 1.6)), True),
}
EXTRAPOLATION_MARKS = {
    "ldae": ("o", "-", True),
    "ldae_last_noise": ("D", (0, (4, 1.6)), False),
    "ldae_corrected": ("P", "-", False),
    "last_visit": ("s", "-", True),
    "mean_visits": ("X", "-", True),
    "population_change": ("h", (0, (1, 1.2)), False),
    "voxel_linear": ("^", "-", True),
    "latent_linear": ("v", (0, (4, 1.6)), True),
}
# Extrapolated: in the text.
COMPARED = ("ldae", "ldae_last_noise", "ldae_corrected", "last_visit", "mean_visits")
COMPARED += ("population_change",)
# Metric, axis label, factor on its values, the paper's bound (section 5.5).
PANELS = (
    ("mse_to_ae", "MSE to AE reconstruction (×10⁻³) ↓", 1e3, 0.004),
    ("ssim_to_ae", "SSIM to AE reconstruction ↑", 1.0, 0.93),
)
MOST_GAPS = 8
LEGEND_COLUMNS = 5
DIFFERENCE = ("reference", "metric", "difference", "ci_low", "ci_high", "n_triplets", "n_better")
COLUMNS = (
    "grouping",
    "group",
    "method",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n_triplets",
    "n_subjects",
)


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """MSE and SSIM against the gap in months; below, for extrapolated visits if they are given.

    The axes show the data. The paper's bounds are drawn, or named at the edge that they lie beyond,
    where data and grid are comparable.
    """
    table = read_table(inputs["table"], COLUMNS)
    gaps = extrapolated = None
    if inputs.get("differences"):
        gaps = read_table(
            inputs["differences"],
            ("method", *DIFFERENCE),
        )
        gaps = gaps[gaps["method"] == "ldae"]
    parts = [(_grouped(table, "prediction_gap", inputs["table"]), MARKS)]
    if inputs.get("extrapolation"):
        extrapolated = read_table(inputs["extrapolation"], COLUMNS)
        parts.append(
            (_grouped(extrapolated, "horizon", inputs["extrapolation"]), EXTRAPOLATION_MARKS)
        )
    labels = (
        "Prediction gap (months to the nearer visit)",
        "Months from the last known visit, two known",
    )
    published = "ldae" in settings.get("paper", ())
    heads = [7.0 + 3.5 * math.ceil(len(marks) / LEGEND_COLUMNS) for _, marks in parts]
    height = sum(heads) + 59.5 * len(parts)
    figure = new_figure(PAGE, height)
    for row, (shown, marks) in enumerate(parts):
        top = 1 - (sum(heads[:row]) + 59.5 * row) / height
        grid = figure.add_gridspec(
            1,
            2,
            left=0.085,
            right=0.985,
            top=top - heads[row] / height,
            bottom=top - (heads[row] + 43.75) / height,
            wspace=0.25,
        )
        for index, (metric, label, scale, bound) in enumerate(PANELS):
            ax = figure.add_subplot(grid[index])
            mine = shown[shown["metric"] == metric]
            _panel(ax, mine, marks, scale, "visits" if row else "triplets")
            if row == 0 and published:
                _bound(ax, scale * bound)
            ax.set(ylabel=label, xlabel=labels[row])
            letter(ax, "abcd"[2 * row + index], dx=-9)
        _legend(figure, shown, marks, top)
    data = pd.concat([shown for shown, _ in parts], ignore_index=True)
    several = len(parts) > 1
    body = (
        "Visits predicted from others, compared with the autoencoder's reconstruction of the real "
        f"one: {'(a, b) ' if several else ''}between two"
        + ("; (c, d) after two, on the line through them or from their mean" if several else "")
        + ". Corrected averages are moved by the code. 95 % intervals from resampled subjects "
        "(none for one subject)."
    )
    if published:
        body += " Bounds: the paper's, section 5.5."
    result = _result(table, gaps) + (
        _extrapolation(extrapolated) if extrapolated is not None else ""
    )
    return Drawing(figure, data, "Predicted visits against the prediction gap", body, result)


def _grouped(table: pd.DataFrame, grouping: str, path: Any) -> pd.DataFrame:
    """Rows of one grouping and the measures drawn; the group as a number of months.

    Raises:
        UserError: there are none.
    """
    wanted = [metric for metric, *_ in PANELS]
    shown = table[(table["grouping"] == grouping) & table["metric"].isin(wanted)]
    require(len(shown) > 0, f"{path} has no rows grouped by {grouping}.")
    return shown.assign(group=shown["group"].astype(float)).reset_index(drop=True)


def _legend(figure: Figure, shown: pd.DataFrame, marks: dict[str, tuple], top: float) -> None:
    handles = [
        Line2D([], [], label=systems.system(name).label, **_style(name, mark))
        for name, mark in marks.items()
        if name in set(shown["method"])
    ]
    figure.legend(
        handles=handles,
        ncols=min(len(handles), LEGEND_COLUMNS),
        loc="upper left",
        bbox_to_anchor=(0.065, top),
        columnspacing=1.8,
        handlelength=2.2,
    )


def _style(method: str, mark: tuple) -> dict[str, Any]:
    """Look of a method's line: colour of its kind; its own marker and line."""
    marker, line, filled = mark
    colour = system_colour(method)
    face = {"mec": "white", "mew": 0.4} if filled else {"mfc": "white", "mew": 0.8}
    return {"color": colour, "marker": marker, "ls": line, "ms": 4.2, "lw": 0.9, **face}


def _bound(ax: Axes, bound: float) -> None:
    """A dashed line at the paper's bound, or its value at the edge that it lies beyond."""
    low, high = ax.get_ylim()
    words = f"paper's bound: {bound:g}"
    style = {"fontsize": 6, "color": GREY, "ha": "right", "xycoords": ("axes fraction", "data")}
    if low <= bound <= high:
        ax.axhline(bound, color=GREY, lw=0.9, ls=(0, (3, 2)), zorder=0)
        ax.annotate(words, (1.0, bound), va="bottom", **style)
    else:
        above = bound > high
        edge = {"va": "top" if above else "bottom"}
        ax.annotate(
            f"{words} {'↑' if above else '↓'}", (1.0, high if above else low), **edge, **style
        )


def _panel(ax: Axes, table: pd.DataFrame, marks: dict[str, tuple], scale: float, what: str) -> None:
    gaps = np.sort(table["group"].unique())
    even = len(gaps) <= MOST_GAPS  # few gaps: evenly spaced; many: months to scale
    place = {gap: float(i if even else gap) for i, gap in enumerate(gaps)}
    step = 1.0 if even else float(np.diff(gaps).min())
    for index, (method, mark) in enumerate(marks.items()):
        mine = table[table["method"] == method].sort_values("group")
        if mine.empty:
            continue
        x = (
            np.array([place[gap] for gap in mine["group"]])
            + (index - (len(marks) - 1) / 2) * 0.11 * step
        )
        low, high = scale * mine["ci_low"], scale * mine["ci_high"]
        ax.vlines(x, low, high, color=system_colour(method), lw=1.1)
        ax.plot(x, scale * mine["value"], **_style(method, mark))
    sizes = table.drop_duplicates("group").set_index("group")
    if even:
        labels = [
            f"{gap:g}\n{int(sizes.loc[gap, 'n_triplets']):,}\n{int(sizes.loc[gap, 'n_subjects'])}"
            for gap in gaps
        ]
        ax.set(xticks=list(place.values()), xticklabels=labels)
        for line, text in enumerate(("months", what, "subjects")):
            ax.annotate(
                text,
                xy=(0, 0),
                xycoords="axes fraction",
                ha="right",
                va="top",
                xytext=(-3, -4.6 - 7.8 * line),
                textcoords="offset points",
                fontsize=5.5,
                color=GREY,
            )
    ax.set_xlim(place[gaps[0]] - 0.6 * step, place[gaps[-1]] + 0.6 * step)
    ax.grid(axis="y", color=LIGHT)


def _result(table: pd.DataFrame, gaps: pd.DataFrame | None) -> str:
    """SSIM of every method over all gaps, and the LDAE's gain over the baselines."""
    overall = table[table["grouping"] == "overall"]
    size = overall.iloc[0]
    text = (
        f"SSIM of visits between two others ({count(int(size['n_triplets']), 'triplet')} of "
        f"{count(int(size['n_subjects']), 'test subject')}): {_means(overall, MARKS)}."
    )
    if gaps is None:
        return text
    gains = [
        f"{interval(one.difference, one.ci_low, one.ci_high, 4)} from "
        f"{systems.phrase(one.reference)} (higher in {one.n_better:,} of {one.n_triplets:,})"
        for one in gaps[gaps["metric"] == "ssim_to_ae"].itertuples()
    ]
    return f"{text} The LDAE's differs by {listing(gains)}."


def _means(overall: pd.DataFrame, methods: Iterable[str]) -> str:
    """SSIM of every method."""
    means = overall[overall["metric"] == "ssim_to_ae"].set_index("method")
    return ", ".join(
        f"{systems.system(method).label} "
        f"{interval(*means.loc[method, ['value', 'ci_low', 'ci_high']])}"
        for method in methods
        if method in means.index
    )


def _extrapolation(table: pd.DataFrame) -> str:
    overall = table[table["grouping"] == "overall"]
    size = overall.iloc[0]
    return (
        f" Of visits after two others ({count(int(size['n_triplets']), 'visit')} of "
        f"{count(int(size['n_subjects']), 'subject')}): {_means(overall, COMPARED)}."
    )
