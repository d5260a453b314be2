"""Quality against network calls: every solver of the diffusion at several numbers of steps."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae.figures.style import (
    GREY,
    LIGHT,
    PAGE,
    SHADES,
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
LINES = {  # solver: label, colour, marker, line style
    "ddim": ("DDIM (the paper's)", SHADES[0], "s", "-"),
    "ddim_refined": ("DDIM, refined inversion", SHADES[2], "^", "-"),
    "multistep": ("Multistep, in log-SNR", SHADES[1], "o", (0, (4, 1.6))),
    "angle": ("Multistep, in the angle", SHADES[3], "v", (0, (3, 1.2, 1, 1.2))),
    "midpoint": ("Midpoint (invertible)", GREY, "D", (0, (1, 1.2))),
}
# Experiment and metric, title, whether the difference from the reference is shown, log scale.
PANELS = (
    ("reconstruction", "latent_rmse", "Latent error ↓", False, True),
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
        letter(ax, "abcd"[index], dx=-9.0)
        if relative:
            ax.axhline(0, color=GREY, lw=0.8, zorder=0)
        shown.append(mine.assign(panel="abcd"[index], difference=relative))
    figure.axes[1].set_ylabel("less that of DDIM at the largest $T$", labelpad=1)
    marks = [
        Line2D([], [], color=colour, marker=marker, ls=line, ms=4, label=label)
        for label, colour, marker, line in _known(means).values()
    ]
    figure.legend(
        handles=marks, ncols=5, loc="upper left", bbox_to_anchor=(0.06, 1.0), columnspacing=1.6
    )
    data = pd.concat(shown, ignore_index=True)
    return Drawing(
        figure,
        data,
        "Quality against calls of the network",
        _body(means, cut_off),
        _result(means, gaps),
    )


def _known(means: pd.DataFrame) -> dict[str, tuple[str, str, str, Any]]:
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
    for name, (_, colour, marker, line) in LINES.items():
        mine = drawn[drawn["solver"] == name].sort_values("calls")
        value = mine["value"].clip(lower=FLOOR) if log else mine["value"]
        ax.vlines(mine["calls"], mine["ci_low"], mine["ci_high"], color=colour, lw=1.0)
        style = {"marker": marker, "ls": line, "ms": 3.6, "mec": "white", "mew": 0.4}
        ax.plot(mine["calls"], value, color=colour, **style)
    log_steps(ax, sorted(table.loc[table["solver"] == "ddim", "calls"].unique()))
    ax.set(xlabel="Calls for one scan", yscale="log" if log else "linear")
    ax.grid(axis="y", color=LIGHT)
    return whole


def _body(means: pd.DataFrame, cut_off: list[str]) -> str:
    text = (
        "(a) Root mean square error of z_0 (unit variance) after inversion and decoding. SSIM to "
        "the AE reconstruction (b) of the scan, (c) of a missing visit; (d) ventricle "
        f"volume moved towards AD: each less DDIM's at T = {int(means['T'].max())}, with 95 % "
        "intervals."
    )
    if cut_off:
        text += f" Midpoint lies far outside of {listing(cut_off)}."
    return text


def _result(means: pd.DataFrame, gaps: pd.DataFrame) -> str:
    """Errors of every solver at the smallest T."""
    size = means[means["experiment"] == "reconstruction"].iloc[0]
    first = min(means["T"])
    errors, gaps = (table.set_index(KEY[:-1]).sort_index() for table in (means, gaps))
    found = []
    for solver, (label, *_) in _known(means).items():
        error = errors.loc[("reconstruction", "latent_rmse", solver, first), "value"]
        gap = gaps.loc[("reconstruction", "ssim_to_ae", solver, first)]
        found.append(
            f"{label} {number(error)} and "
            f"{interval(gap['value'], gap['ci_low'], gap['ci_high'], 4)}"
        )
    return (
        f"Latent error and SSIM less the reference at T = {first}, "
        f"{count(int(size['n_scans']), 'scan')} of "
        f"{count(int(size['n_subjects']), 'test subject')}: {'; '.join(found)}."
    )
