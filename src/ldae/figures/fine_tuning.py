"""Fine-tuning: AUROC of the diagnosis by people learnt from, and by the encoder's start."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from ldae.errors import require
from ldae.evaluation.fine_tuning_cases import STARTS, WAYS
from ldae.figures.style import GREY, KINDS, LIGHT, PAGE, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, interval, listing

INPUTS = {"table": "AUROC by start, trained part and people (fine_tuning.tsv)"}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
COLUMNS = (
    "start", "trainable", "people", "train_subjects", "value", "ci_low", "ci_high", "gain",
    "gain_low", "gain_high", "p_holm", "n_scans", "n_subjects",
)  # fmt: skip
COLOURS = {
    "scratch": KINDS["none"].colour,
    "imagenet": KINDS["trained"].colour,
    "ldae": KINDS["ldae"].colour,
}
LINES = {"head": (0, (1, 1.5)), "last_stage": (0, (4, 2)), "all": "-"}
MARKS = {"head": "o", "last_stage": "s", "all": "^"}
CHANCE, SHIFT = 0.5, 0.03  # of one line after the other, in decades of people


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """AUROC (a), and its paired gain on an encoder from scratch (b), by the people learnt from."""
    table = read_table(inputs["table"], COLUMNS)
    require(len(table) > 0, f"{inputs['table']} has no case.")
    figure = new_figure(PAGE, 72)
    grid = figure.add_gridspec(1, 2, left=0.075, right=0.985, wspace=0.24, top=0.8, bottom=0.15)
    axes = [figure.add_subplot(grid[place]) for place in range(2)]
    limits = (("value", "ci_low", "ci_high"), ("gain", "gain_low", "gain_high"))
    for ax, columns, level in zip(axes, limits, (CHANCE, 0.0), strict=True):
        ax.axhline(level, color=GREY, lw=0.8, ls=(0, (3, 2)))
        _lines(ax, table, columns)
    axes[0].set_ylabel("AUROC on the test split")
    axes[1].set_ylabel("Gain on scratch (AUROC)")
    for ax, text in zip(axes, "ab", strict=True):
        letter(ax, text, dx=-9)
    figure.legend(
        *axes[0].get_legend_handles_labels(), ncols=4, loc="upper left", bbox_to_anchor=(0.06, 1.0)
    )
    size = table.iloc[0]
    body = (
        "(a) AUROC of the diagnosis by the number of training people, by the weights that the "
        "encoder begins with and the part that learns on; (b) paired difference from the encoder "
        "from scratch with the same people. Bars: 95 % intervals over "
        f"{int(size['n_subjects']):,} test subjects; dashed: chance, and no difference."
    )
    return Drawing(figure, table, "Few labels", body, _result(table))


def _lines(ax: Axes, table: pd.DataFrame, columns: tuple[str, str, str]) -> None:
    shown = table[table[columns[0]].notna()]
    ways = list(shown.groupby(["start", "trainable"], sort=False))
    for place, ((start, trainable), mine) in enumerate(ways):
        mine = mine.sort_values("train_subjects")
        x = mine["train_subjects"] * 10 ** (SHIFT * (place - (len(ways) - 1) / 2))
        value, low, high = (mine[name].astype(float) for name in columns)
        colour = COLOURS[start]
        ax.vlines(x, low, high, color=colour, lw=0.8)
        label = STARTS[start] if start == "scratch" else f"{STARTS[start]}: {WAYS[trainable]}"
        ax.plot(x, value, color=colour, ls=LINES[trainable], marker=MARKS[trainable], label=label)
    people = sorted(set(table["train_subjects"]))
    ax.set_xscale("log")
    ax.set_xlim(people[0] / 1.3, people[-1] * 1.3)
    ax.xaxis.set_major_locator(FixedLocator(people))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticklabels([f"{int(number):,}" for number in people])
    ax.set_xlabel("Training people, both classes")
    ax.grid(axis="y", color=LIGHT)


def _result(table: pd.DataFrame) -> str:
    """The best way of every number of people, and how many cases are surely above scratch."""
    parts = []
    for _, mine in table.groupby("train_subjects"):
        best = mine.loc[mine["value"].idxmax()]
        way = STARTS[best["start"]].lower().replace("ldae", "LDAE").replace("imagenet", "ImageNet")
        score = interval(best["value"], best["ci_low"], best["ci_high"], 3)
        part = "" if best["start"] == "scratch" else f" ({WAYS[best['trainable']]})"
        parts.append(f"{int(best['train_subjects']):,} people, {way}{part} {score}")
    compared = table[table["gain"].notna()]
    text = f"Best AUROC: {listing(parts)}."
    if len(compared):
        sure = int(((compared["p_holm"] < 0.05) & (compared["gain"] > 0)).sum())
        text += f" Better than from scratch (Holm): {sure} of {count(len(compared), 'case')}."
    return text
