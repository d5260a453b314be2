"""Training curves: losses and validation of the three stages, from their history tables."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ldae import systems
from ldae.figures.style import (
    GREY,
    INK,
    LIGHT,
    PAGE,
    SHADES,
    Drawing,
    letter,
    new_figure,
)
from ldae.files import read_table
from ldae.labels import count, number

INPUTS = {
    "autoencoder": "history.tsv of stage 1",
    "ldm": "history.tsv of stage 2",
    "ldae": "history.tsv of stage 3",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
TITLES = {"autoencoder": "Autoencoder", "ldm": "Latent diffusion model", "ldae": "LDAE"}
NOT_SHOWN = ("kl",)  # a sum over the latent: thousands of times the other losses


class Line(NamedTuple):
    """Look of a curve, the same in every panel: legend label, colour, line style, marker."""

    label: str
    colour: str
    line: Any = "-"
    marker: str = "o"


DASHED, DOTTED = (0, (4, 1.6)), (0, (1, 1.4))
# Curves by their column without ``train_`` or ``val_``, in the order of the legend.
LINES = {
    "loss": Line("loss", INK),
    "l1": Line("L1", SHADES[1], DASHED, "D"),
    "perceptual": Line("perceptual", SHADES[2], DASHED, "^"),
    "adversarial": Line("adversarial", SHADES[3], DASHED, "v"),
    "discriminator": Line("discriminator", INK, DOTTED, "X"),
    "loss_frozen": Line(r"loss without $y_\mathrm{sem}$", GREY, DASHED, "s"),
    "loss_q1": Line("loss, t in Q1", SHADES[3], marker="v"),
    "loss_q2": Line("loss, t in Q2", SHADES[2], marker="^"),
    "loss_q3": Line("loss, t in Q3", SHADES[1], marker="D"),
    "loss_q4": Line("loss, t in Q4", SHADES[0], marker="X"),
    "ssim": Line("SSIM", INK, marker="P"),
    "probe_auroc": Line("AD/CN: AUROC", SHADES[1], DOTTED, "D"),
    "probe_age_r": Line("age: r", SHADES[2], DOTTED, "^"),
}
SELECTED_BY = {"autoencoder": "val_ssim", "ldae": "val_ssim"}  # section 4.2; stage 2: last epoch
MARKED = 30  # points; longer curves have no markers


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """One column a stage: training losses above, validation below, the kept epoch marked."""
    histories = {stage: read_table(inputs[stage], ("epoch", "step")) for stage in TITLES}
    figure = new_figure(PAGE, 100)
    grid = figure.add_gridspec(
        2, 3, left=0.075, right=0.985, top=0.86, bottom=0.09, wspace=0.27, hspace=0.12
    )
    frames, found, used = [], [], set()
    for index, (stage, title) in enumerate(TITLES.items()):
        history = histories[stage]
        upper = figure.add_subplot(grid[0, index])
        lower = figure.add_subplot(grid[1, index], sharex=upper)
        used |= _curves(upper, history, "train_") | _curves(lower, history, "val_")
        kept = kept_epoch(stage, history)
        for ax in (upper, lower):
            ax.axvline(kept, color=GREY, lw=0.8, ls=(0, (3, 2)), zorder=0)
        upper.set_title(title, fontweight="bold", loc="left")
        letter(upper, "abc"[index], dx=-8)
        upper.tick_params(labelbottom=False)
        lower.set_xlabel("Epoch")
        lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if index == 0:
            upper.set_ylabel("Training loss")
            lower.set_ylabel("Validation")
        frames.append(history.assign(stage=stage))
        found.append(_stage(title, stage, history, kept))
    _legend(figure, used)
    body = (
        "Means over each epoch; the losses of diffusion also by quarter of the timesteps (Q1: "
        "little noise). Training losses are on a logarithmic scale, without the KL term. The "
        "dashed line marks the epoch whose weights are kept. AUROC and r: ridge regressions on "
        "the codes of validation scans."
    )
    table = pd.concat(frames, ignore_index=True)
    table = table[["stage", *(name for name in table if name != "stage")]]
    return Drawing(figure, table, "Training of the three stages", body, f"{'; '.join(found)}.")


def kept_epoch(stage: str, history: pd.DataFrame) -> int:
    """The epoch whose weights are kept: highest validation SSIM, or the last (stage 2)."""
    metric = SELECTED_BY.get(stage)
    if metric in history and history[metric].notna().any():
        return int(history.loc[history[metric].idxmax(), "epoch"])
    return int(history["epoch"].iloc[-1])


def line_of(name: str) -> Line:
    """Look of a curve by its column without prefix; unknown ones are grey and dotted."""
    return LINES.get(name) or Line(systems.metric(name).label, GREY, DOTTED, "P")


def _minor_label(value: float, _: int) -> str:
    """Labels 2 and 5 between powers of ten."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _curves(ax: Axes, history: pd.DataFrame, prefix: str) -> set[str]:
    """Draw the columns with this prefix; validation with SSIM shows only SSIM and probe scores.

    Returns:
        Names of the curves drawn, without the prefix.
    """
    names = [name.removeprefix(prefix) for name in history if name.startswith(prefix)]
    names = [name for name in names if history[prefix + name].notna().any()]
    names = [name for name in names if name not in NOT_SHOWN]
    if prefix == "val_" and "ssim" in names:
        names = [name for name in names if "ssim" in name or "probe" in name]
    for name in names:
        rows = history[history[prefix + name].notna()]
        _, colour, line, marker = line_of(name)
        ax.plot(
            rows["epoch"],
            rows[prefix + name],
            marker=marker if len(rows) <= MARKED else "",
            ls=line,
            ms=2.6,
            mew=0,
            lw=1.0,
            color=colour,
        )
    shown = history[[prefix + name for name in names]]
    if prefix == "train_" and names and shown.min().min() > 0:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(FuncFormatter(_minor_label))
    ax.grid(axis="y", color=LIGHT)
    if not names:
        ax.text(0.5, 0.5, "no validation", transform=ax.transAxes, ha="center", color=GREY)
    return set(names)


def _legend(figure: Figure, used: set[str]) -> None:
    """One legend for all panels, two rows of curves in the order of ``LINES``."""
    names = [name for name in LINES if name in used] + sorted(used - set(LINES))
    marks = [
        Line2D([], [], color=colour, ls=line, marker=marker, ms=3.2, mew=0, lw=1.0, label=label)
        for label, colour, line, marker in map(line_of, names)
    ]
    columns = -(-len(marks) // 2)
    by_column = [mark for column in range(columns) for mark in marks[column::columns]]
    figure.legend(
        handles=by_column,
        ncols=columns,
        loc="upper left",
        bbox_to_anchor=(0.065, 1.0),
        columnspacing=1.6,
        handlelength=2.2,
        labelspacing=0.3,
    )


def _stage(title: str, stage: str, history: pd.DataFrame, kept: int) -> str:
    """Length of a stage, its first loss at both ends, and why its epoch is kept."""
    text = (
        f"{title}: {count(len(history), 'epoch')}, {count(int(history['step'].iloc[-1]), 'step')}"
    )
    losses = [name for name in history if name.startswith("train_")]
    if losses:
        first, last = history[losses[0]].iloc[[0, -1]]
        text += f", {losses[0].removeprefix('train_')} from {number(first)} to {number(last)}"
    metric = SELECTED_BY.get(stage)
    if metric in history and history[metric].notna().any():
        best = float(np.nanmax(history[metric]))
        return f"{text}, epoch {kept} kept for its validation SSIM of {number(best)}"
    return f"{text}, the last epoch kept"
