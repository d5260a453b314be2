"""Quality against network calls: every solver of the diffusion at several numbers of steps."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae.figures.style import (
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PAGE,
    RED,
    Drawing,
    letter,
    log_steps,
    new_figure,
)
from ldae.files import read_table
from ldae.labels import count, interval, listing, number

INPUTS = {
    "table": "means by solver and T (solvers.tsv)",
    "differences": "paired differences from DDIM at the largest T (solvers_differences.tsv)",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
KEY = ["experiment", "metric", "solver", "T", "calls"]
REST = ["ci_low", "ci_high", "n_scans", "n_subjects"]
LINES = {  # solver: label, colour, marker
    "ddim": ("DDIM (the paper's)", BLUE, "s"),
    "ddim_refined": ("DDIM, inversion refined", GREEN, "^"),
    "multistep": ("Second-order multistep", RED, "o"),
    "midpoint": ("Midpoint (invertible)", ORANGE, "D"),
}
# Experiment and metric, title, whether the difference from the reference is shown, log scale.
PANELS = (
    ("reconstruction", "latent_rmse", "Latent error, round trip ↓", False, True),
    ("reconstruction", "ssim_to_ae", "SSIM, reconstruction ↑", True, False),
    ("interpolation", "ssim_to_ae", "SSIM, missing visit ↑", True, False),
    ("manipulation", "ventricle_ml", "Ventricles moved, ml", True, False),
)
FLOOR = 1e-7  # of the latent error, at which an exact return is drawn
OUTSIDE = 4.0  # a solver farther out than so many ranges of the others is cut off


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Panels: latent error; differences of SSIM, of predicted visits' SSIM and of ventricles."""
    means = read_table(inputs["table"], (*KEY, "value", *REST))
    gaps = read_table(inputs["differences"], (*KEY, "difference", *REST))
    gaps = gaps.rename(columns={"difference": "value"})
    figure = new_figure(PAGE, 64)
    grid = figure.add_gridspec(1, 4, left=0.07, right=0.99, top=0.80, bottom=0.17, wspace=0.5)
    shown, cut_off = [], []
    for index, (experiment, metric, title, relative, log) in enumerate(PANELS):
        table = gaps if relative else means
        mine = table[(table["experiment"] == experiment) & (table["metric"] == metric)]
        ax = figure.add_subplot(grid[index])
        if not _lines(ax, mine, log):
            cut_off.append("abcd"[index])
        ax.set_title(title, loc="left")
        letter(ax, "abcd"[index], dx=-8.0)
        if relative:
            ax.axhline(0, color=GREY, lw=0.8, zorder=0)
        shown.append(mine.assign(panel="abcd"[index], difference=relative))
    figure.axes[1].set_ylabel("less that of DDIM at the largest $T$", labelpad=1)
    marks = [
        Line2D([], [], color=colour, marker=marker, ms=4, label=label)
        for label, colour, marker in _known(means).values()
    ]
    figure.legend(
        handles=marks, ncols=4, loc="upper left", bbox_to_anchor=(0.06, 1.0), columnspacing=1.8
    )
    data = pd.concat(shown, ignore_index=True)
    return Drawing(
        figure, data, "Quality against calls of the network", _body(means, gaps, cut_off)
    )


def _known(means: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """Those of ``LINES`` that the study compared."""
    compared = set(means["solver"])
    return {name: line for name, line in LINES.items() if name in compared}


def _lines(ax: Axes, table: pd.DataFrame, log: bool) -> bool:
    """One line a solver, with intervals; returns whether all solvers are drawn.

    ``midpoint`` is left out where it lies so far off that the others would be one flat line.
    """
    odd, others = (table[(table["solver"] == "midpoint") == is_odd] for is_odd in (True, False))
    low, high = others["ci_low"].min(), others["ci_high"].max()
    reach = max(low - odd["value"].min(), odd["value"].max() - high)
    whole = log or not 0 < OUTSIDE * (high - low) < reach
    drawn = table if whole else others
    for name, (_, colour, marker) in LINES.items():
        mine = drawn[drawn["solver"] == name].sort_values("calls")
        value = mine["value"].clip(lower=FLOOR) if log else mine["value"]
        ax.vlines(mine["calls"], mine["ci_low"], mine["ci_high"], color=colour, lw=1.0)
        ax.plot(mine["calls"], value, marker=marker, ms=3.6, color=colour, mec="white", mew=0.4)
    log_steps(ax, sorted(table.loc[table["solver"] == "ddim", "calls"].unique()))
    ax.set(xlabel="Calls for one scan", yscale="log" if log else "linear")
    ax.grid(axis="y", color=LIGHT)
    return whole


def _body(means: pd.DataFrame, gaps: pd.DataFrame, cut_off: list[str]) -> str:
    most = int(means["T"].max())
    size = means.set_index("experiment")[["n_scans", "n_subjects"]]
    scans, subjects = (int(n) for n in size.loc["reconstruction"].iloc[0])
    visits = int(size.loc["interpolation", "n_scans"].iloc[0])

    text = (
        f"Inversion with a scan's own y_sem and decoding, {count(scans, 'scan')} of "
        f"{count(subjects, 'test subject')}; {count(visits, 'visit')} between a first and a last "
        "one; 95 % intervals from resampled subjects. (a) Root mean square error of z_0, which has "
        "unit variance, after the round trip. (b) SSIM to the autoencoder's reconstruction; (c) "
        "the same of the predicted visit; (d) ventricle volume after a move along the AD direction "
        f"from the same z_T: each less DDIM's at T = {most}, scan by scan."
    )
    if cut_off:
        text += f" Midpoint lies far outside of {listing(cut_off)} and is not drawn there."
    first = min(means["T"])
    errors, gaps = (table.set_index(KEY[:-1]).sort_index() for table in (means, gaps))
    for solver, (label, *_) in _known(means).items():
        error = errors.loc[("reconstruction", "latent_rmse", solver, first), "value"]
        gap = gaps.loc[("reconstruction", "ssim_to_ae", solver, first)]
        text += (
            f" {label}, T = {first}: error {number(error)}, SSIM "
            f"{interval(gap['value'], gap['ci_low'], gap['ci_high'], 4)} from the reference."
        )
    return text
