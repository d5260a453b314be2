"""Figure 8: error of interpolated visits against the prediction gap, beside trivial baselines."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae.errors import require
from ldae.figures import names
from ldae.figures.style import GREY, LIGHT, PAGE, letter, new_figure
from ldae.figures.text import Drawing, count, interval
from ldae.files import read_table

INPUTS = {
    "table": "means by prediction gap and method (interpolation.tsv)",
}
OPTIONAL = {"differences": "paired differences of the LDAE with the baselines, for the caption"}
DATA = "tsv"
MARKS = {"ldae": "o", "nearest_visit": "s", "voxel_average": "^", "latent_lerp": "v"}
PANELS = (
    ("mse_to_ae", "MSE to AE reconstruction ↓", 0.004),
    ("ssim_to_ae", "SSIM to AE reconstruction ↑", 0.93),
)  # bounds: section 5.5
MOST_GAPS = 8


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Two panels, MSE and SSIM against the gap in months; numbers of triplets below the axis."""
    table = read_table(
        inputs["table"],
        (
            "grouping",
            "group",
            "method",
            "metric",
            "value",
            "ci_low",
            "ci_high",
            "n_triplets",
            "n_subjects",
        ),
    )
    gaps = None
    if inputs.get("differences"):
        gaps = read_table(
            inputs["differences"],
            ("reference", "metric", "difference", "ci_low", "ci_high", "n_triplets", "n_better"),
        )
    wanted = [metric for metric, *_ in PANELS]
    shown = table[(table["grouping"] == "prediction_gap") & table["metric"].isin(wanted)]
    require(len(shown) > 0, f"{inputs['table']} has no rows grouped by prediction_gap.")
    shown = shown.assign(group=shown["group"].astype(float)).reset_index(drop=True)

    figure = new_figure(PAGE, 70)
    grid = figure.add_gridspec(1, 2, left=0.085, right=0.985, top=0.85, bottom=0.225, wspace=0.25)
    for index, (metric, label, bound) in enumerate(PANELS):
        ax = figure.add_subplot(grid[index])
        _panel(ax, shown[shown["metric"] == metric], bound)
        ax.set_ylabel(label)
        letter(ax, "ab"[index], dx=-9)
    methods = [name for name in MARKS if name in set(shown["method"])]
    marks = [
        Line2D([], [], color=names.colour(name), marker=MARKS[name], ms=4, label=names.system(name))
        for name in methods
    ]
    marks.append(
        Line2D([], [], color=GREY, ls=(0, (3, 2)), lw=0.9, label="bound stated by the paper")
    )
    figure.legend(
        handles=marks,
        ncols=len(marks),
        loc="upper left",
        bbox_to_anchor=(0.065, 1.0),
        columnspacing=1.8,
    )
    return Drawing(
        figure, shown, "Interpolated visits against the prediction gap", _body(table, gaps)
    )


def _panel(ax: Axes, table: pd.DataFrame, bound: float) -> None:
    gaps = np.sort(table["group"].unique())
    even = len(gaps) <= MOST_GAPS  # few gaps: evenly spaced; many: months to scale
    place = {gap: float(i if even else gap) for i, gap in enumerate(gaps)}
    step = 1.0 if even else float(np.diff(gaps).min())
    for index, (method, mark) in enumerate(MARKS.items()):
        mine = table[table["method"] == method].sort_values("group")
        if mine.empty:
            continue
        x = np.array([place[gap] for gap in mine["group"]]) + (index - 1.5) * 0.11 * step
        ax.vlines(x, mine["ci_low"], mine["ci_high"], color=names.colour(method), lw=1.1)
        ax.plot(
            x,
            mine["value"],
            marker=mark,
            ms=4.2,
            lw=0.9,
            color=names.colour(method),
            mec="white",
            mew=0.4,
        )
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
    ax.set_xlabel("Prediction gap (months to the nearer visit)")
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
    means = []
    for method in MARKS:
        mine = overall[overall["method"] == method].set_index("metric")
        if "ssim_to_ae" in mine.index:
            ssim, mse = mine.loc["ssim_to_ae"], mine.loc["mse_to_ae"]
            means.append(
                f"{names.system(method)} SSIM "
                f"{interval(ssim['value'], ssim['ci_low'], ssim['ci_high'])}, MSE "
                f"{interval(mse['value'], mse['ci_low'], mse['ci_high'], 4)}"
            )
    text += "; ".join(means) + "."
    if gaps is None:
        return text
    for one in gaps[gaps["metric"] == "ssim_to_ae"].itertuples():
        text += (
            f" SSIM of the LDAE less {names.inside(one.reference)}: "
            f"{interval(one.difference, one.ci_low, one.ci_high)}, higher in {one.n_better:,} of "
            f"{one.n_triplets:,}."
        )
    return text
