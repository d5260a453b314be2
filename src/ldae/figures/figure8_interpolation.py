"""Figure 8: error of predicted visits against the prediction gap, beside trivial baselines."""

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
from ldae.labels import count, interval

INPUTS = {
    "table": "means by prediction gap and method (interpolation.tsv)",
}
OPTIONAL = {
    "differences": "paired differences of the LDAE with the baselines, for the caption",
    "extrapolation": "means of extrapolated visits by horizon and method (extrapolation.tsv)",
}
DATA = "tsv"
MARKS = {"ldae": "o", "nearest_visit": "s", "voxel_average": "^", "latent_lerp": "v"}
EXTRAPOLATION_MARKS = {
    "ldae": "o",
    "ldae_last_noise": "D",
    "last_visit": "s",
    "voxel_linear": "^",
    "latent_linear": "v",
}
PANELS = (
    ("mse_to_ae", "MSE to AE reconstruction ↓", 0.004),
    ("ssim_to_ae", "SSIM to AE reconstruction ↑", 0.93),
)  # bounds: section 5.5
MOST_GAPS = 8
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
    """MSE and SSIM against the gap in months; below, for extrapolated visits if they are given."""
    table = read_table(inputs["table"], COLUMNS)
    gaps = extrapolated = None
    if inputs.get("differences"):
        gaps = read_table(
            inputs["differences"],
            ("reference", "metric", "difference", "ci_low", "ci_high", "n_triplets", "n_better"),
        )
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
    height = 70.0 * len(parts)
    figure = new_figure(PAGE, height)
    for row, (shown, marks) in enumerate(parts):
        top = 1 - 70 * row / height
        grid = figure.add_gridspec(
            1,
            2,
            left=0.085,
            right=0.985,
            top=top - 10.5 / height,
            bottom=top - 54.25 / height,
            wspace=0.25,
        )
        for index, (metric, label, bound) in enumerate(PANELS):
            ax = figure.add_subplot(grid[index])
            _panel(ax, shown[shown["metric"] == metric], marks, None if row else bound)
            ax.set(ylabel=label, xlabel=labels[row])
            letter(ax, "abcd"[2 * row + index], dx=-9)
        _legend(figure, shown, marks, top, bound=row == 0)
    data = pd.concat([shown for shown, _ in parts], ignore_index=True)
    body = _body(table, gaps) + (
        _extrapolation_sentence(extrapolated) if extrapolated is not None else ""
    )
    return Drawing(figure, data, "Predicted visits against the prediction gap", body)


def _grouped(table: pd.DataFrame, grouping: str, path: Any) -> pd.DataFrame:
    """Rows of one grouping and the measures drawn; the group as a number of months.

    Raises:
        UserError: there are none.
    """
    wanted = [metric for metric, *_ in PANELS]
    shown = table[(table["grouping"] == grouping) & table["metric"].isin(wanted)]
    require(len(shown) > 0, f"{path} has no rows grouped by {grouping}.")
    return shown.assign(group=shown["group"].astype(float)).reset_index(drop=True)


def _legend(
    figure: Figure, shown: pd.DataFrame, marks: dict[str, str], top: float, bound: bool
) -> None:
    handles = [
        Line2D(
            [], [], color=system_colour(name), marker=mark, ms=4, label=systems.system(name).label
        )
        for name, mark in marks.items()
        if name in set(shown["method"])
    ]
    if bound:
        label = "bound stated by the paper"
        handles.append(Line2D([], [], color=GREY, ls=(0, (3, 2)), lw=0.9, label=label))
    figure.legend(
        handles=handles,
        ncols=len(handles),
        loc="upper left",
        bbox_to_anchor=(0.065, top),
        columnspacing=1.8,
    )


def _panel(ax: Axes, table: pd.DataFrame, marks: dict[str, str], bound: float | None) -> None:
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
        ax.vlines(x, mine["ci_low"], mine["ci_high"], color=system_colour(method), lw=1.1)
        ax.plot(
            x,
            mine["value"],
            marker=mark,
            ms=4.2,
            lw=0.9,
            color=system_colour(method),
            mec="white",
            mew=0.4,
        )
    if bound is not None:
        ax.axhline(bound, color=GREY, lw=0.9, ls=(0, (3, 2)), zorder=0)
    sizes = table.drop_duplicates("group").set_index("group")
    if even:
        labels = [
            f"{gap:g}\n{int(sizes.loc[gap, 'n_triplets']):,}\n{int(sizes.loc[gap, 'n_subjects'])}"
            for gap in gaps
        ]
        ax.set(xticks=list(place.values()), xticklabels=labels)
        for line, text in enumerate(("months", "triplets", "subjects")):
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


def _body(table: pd.DataFrame, gaps: pd.DataFrame | None) -> str:
    overall = table[(table["grouping"] == "overall")]
    size = overall.iloc[0]
    text = (
        f"{count(int(size['n_triplets']), 'triplet')} of "
        f"{count(int(size['n_subjects']), 'test subject')}: every visit between two others is "
        "predicted from them and compared with the autoencoder's reconstruction of the real one, "
        "(a) mean squared error, (b) SSIM; 95 % intervals from resampled subjects (none for one "
        "subject). Over all gaps: "
    )
    text += _means(overall, MARKS)
    if gaps is None:
        return text
    for one in gaps[gaps["metric"] == "ssim_to_ae"].itertuples():
        text += (
            f" SSIM of the LDAE less {systems.phrase(one.reference)}: "
            f"{interval(one.difference, one.ci_low, one.ci_high)}, higher in {one.n_better:,} of "
            f"{one.n_triplets:,}."
        )
    return text


def _means(overall: pd.DataFrame, methods: Iterable[str]) -> str:
    """SSIM and MSE of every method, as the end of a sentence."""
    means = []
    for method in methods:
        mine = overall[overall["method"] == method].set_index("metric")
        if "ssim_to_ae" in mine.index:
            ssim, mse = mine.loc["ssim_to_ae"], mine.loc["mse_to_ae"]
            means.append(
                f"{systems.system(method).label} SSIM "
                f"{interval(ssim['value'], ssim['ci_low'], ssim['ci_high'])}, MSE "
                f"{interval(mse['value'], mse['ci_low'], mse['ci_high'], 4)}"
            )
    return "; ".join(means) + "."


def _extrapolation_sentence(table: pd.DataFrame) -> str:
    overall = table[table["grouping"] == "overall"]
    size = overall.iloc[0]
    return (
        " (c, d) The next visit predicted from the two before it, "
        f"{count(int(size['n_triplets']), 'visit')} of "
        f"{count(int(size['n_subjects']), 'subject')}: every method goes on along the line from "
        "the one to the other; the last visit stands for no change. Over all: "
        + _means(overall, EXTRAPOLATION_MARKS)
    )
