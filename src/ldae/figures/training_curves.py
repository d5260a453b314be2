"""Training curves: losses and validation of the three stages, from their history tables."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ldae import systems
from ldae.figures.style import BLACK, GREY, INCH, LIGHT, PAGE, SERIES, Drawing, letter, new_figure
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
NOT_SHOWN = ("train_kl",)  # a sum over the latent: thousands of times the other losses
LABELS = {
    "l1": "L1",
    "loss_frozen": r"without $y_\mathrm{sem}$",
    "probe_auroc": "AD/CN: AUROC",
    "probe_age_r": "age: r",
    **{f"loss_q{q}": f"t in Q{q}" for q in (1, 2, 3, 4)},
}
ABOVE = 7.5  # mm between axes and title, room for two lines of legend
SELECTED_BY = {"autoencoder": "val_ssim", "ldae": "val_ssim"}  # section 4.2; stage 2: last epoch


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """One column a stage: training losses above, validation below, the kept epoch marked."""
    histories = {stage: read_table(inputs[stage], ("epoch", "step")) for stage in TITLES}
    figure = new_figure(PAGE, 96)
    grid = figure.add_gridspec(
        2, 3, left=0.065, right=0.985, top=0.85, bottom=0.085, wspace=0.27, hspace=0.28
    )
    frames, sentences = [], []
    for index, (stage, title) in enumerate(TITLES.items()):
        history = histories[stage]
        losses = [n for n in history if n.startswith("train_") and n not in NOT_SHOWN]
        metrics = [name for name in history if name.startswith("val_")]
        kept = kept_epoch(stage, history)
        upper = figure.add_subplot(grid[0, index])
        lower = figure.add_subplot(grid[1, index], sharex=upper)
        _curves(upper, history, losses, log=True)
        _curves(lower, history, metrics, log=False)
        for ax in (upper, lower):
            ax.axvline(kept, color=GREY, lw=0.8, ls=(0, (3, 2)), zorder=0)
        upper.set_title(title, fontweight="bold", loc="left", x=0.06, pad=ABOVE * 72 / INCH)
        letter(upper, "abc"[index], dx=-4, dy=ABOVE - 1)
        upper.tick_params(labelbottom=False)
        lower.set_xlabel("Epoch")
        lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if index == 0:
            upper.set_ylabel("Training loss")
            lower.set_ylabel("Validation")
        frames.append(history.assign(stage=stage))
        sentences.append(_sentence("abc"[index], title, stage, history, losses, kept))
    body = (
        " ".join(sentences)
        + " Means over each epoch, of the loss also by quarter of the timesteps (Q1, little noise, "
        "to Q4); training losses on a logarithmic scale (the KL term, which dwarfs the others, "
        "is in the data file alone); the dashed line marks the "
        "epoch whose weights are used from then on."
    )
    if any("probe" in name for name in histories["ldae"]):
        body += (
            " Of the codes: AUROC of AD against CN and correlation with age, by ridge "
            "regressions on training scans, of validation scans."
        )
    table = pd.concat(frames, ignore_index=True)
    table = table[["stage", *(name for name in table if name != "stage")]]
    return Drawing(figure, table, "Training of the three stages", body)


def kept_epoch(stage: str, history: pd.DataFrame) -> int:
    """The epoch whose weights are kept: highest validation SSIM, or the last (stage 2)."""
    metric = SELECTED_BY.get(stage)
    if metric in history and history[metric].notna().any():
        return int(history.loc[history[metric].idxmax(), "epoch"])
    return int(history["epoch"].iloc[-1])


def _minor_label(value: float, _: int) -> str:
    """Labels 2 and 5 between powers of ten."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _label(column: str) -> str:
    name = column.split("_", 1)[1]
    return LABELS.get(name) or systems.metric(name).label


def _curves(ax: Axes, history: pd.DataFrame, columns: list[str], log: bool) -> None:
    """Lines of the columns; a linear scale with SSIM shows only SSIM and probe scores (up to 1)."""
    shown = [name for name in columns if history[name].notna().any()]
    if not log and "val_ssim" in shown:
        shown = [name for name in shown if "ssim" in name or "probe" in name]
    for index, name in enumerate(shown):
        rows = history[history[name].notna()]
        marker = "o" if len(rows) <= 30 else ""
        ax.plot(
            rows["epoch"],
            rows[name],
            marker=marker,
            ls="-",
            ms=2.2,
            lw=1.0,
            color=BLACK if len(shown) == 1 else SERIES[index % len(SERIES)],
            label=_label(name),
        )
    if log and shown and (history[shown].min().min() > 0):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(FuncFormatter(_minor_label))
    ax.grid(axis="y", color=LIGHT)
    if shown:
        ax.legend(
            ncols=3,
            handlelength=1.0,
            columnspacing=0.8,
            labelspacing=0.25,
            fontsize=6,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0.2,
        )
    else:
        ax.text(0.5, 0.5, "no validation", transform=ax.transAxes, ha="center", color=GREY)


def _sentence(
    panel: str, title: str, stage: str, history: pd.DataFrame, losses: list[str], kept: int
) -> str:
    text = (
        f"({panel}) {title}: {count(len(history), 'epoch')}, "
        f"{count(int(history['step'].iloc[-1]), 'step')}"
    )
    if losses:
        first, last = history[losses[0]].iloc[[0, -1]]
        text += f", {losses[0].removeprefix('train_')} from {number(first)} to {number(last)}"
    metric = SELECTED_BY.get(stage)
    if metric in history and history[metric].notna().any():
        best = float(np.nanmax(history[metric]))
        return f"{text}; epoch {kept} is kept for its validation SSIM of {number(best)}."
    return f"{text}; the last epoch is kept."
