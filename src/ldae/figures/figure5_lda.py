"""Figure 5: linear discriminant projection of y_sem, with the densities of each class."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.stats import gaussian_kde

from ldae.figures.style import DIAGNOSIS, GREY, LIGHT, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, number

INPUTS = {"projection": "lda_projection.tsv of the probes"}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
COLUMNS = ("scan_id", "participant_id", "split", "diagnosis", "ld1", "ld2")
KDE_AT_LEAST = 5  # points; fewer are shown as ticks alone


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Scatter of the two axes, training scans hollow and test scans filled; densities above."""
    table = read_table(inputs["projection"], COLUMNS).sort_values("scan_id", ignore_index=True)
    table["seen"] = table["split"] != "test"
    classes = [name for name in DIAGNOSIS if name in set(table["diagnosis"])]

    figure = new_figure(140, 88)
    grid = figure.add_gridspec(
        2,
        2,
        width_ratios=[3, 2],
        height_ratios=[1, 2.6],
        wspace=0.32,
        hspace=0.06,
        left=0.085,
        right=0.985,
        top=0.93,
        bottom=0.12,
    )
    top = figure.add_subplot(grid[0, 0])
    main = figure.add_subplot(grid[1, 0], sharex=top)
    side = figure.add_subplot(grid[:, 1], sharex=top)

    for name in classes:
        colour = DIAGNOSIS[name]
        mine = table[table["diagnosis"] == name]
        training, test = mine[mine["seen"]], mine[~mine["seen"]]
        main.scatter(
            training["ld1"],
            training["ld2"],
            s=11,
            facecolors="none",
            edgecolors=colour,
            linewidths=0.7,
            alpha=0.75,
        )
        main.scatter(
            test["ld1"],
            test["ld2"],
            s=20,
            color=colour,
            edgecolors="white",
            linewidths=0.4,
            zorder=3,
        )
        _density(top, training["ld1"].to_numpy(), colour, filled=False)
        _density(top, test["ld1"].to_numpy(), colour, filled=True)
    main.set(
        xlabel=r"First discriminant of $y_\mathrm{sem}$ (fitted on training scans)",
        ylabel="First principal component of the rest",
    )
    top.set(yticks=[], ylim=(0, None))
    top.spines["left"].set_visible(False)
    top.tick_params(labelbottom=False)
    letter(top, "a", dx=-8)
    _legend(top, classes)
    _subjects(side, table, classes)
    letter(side, "b", dx=-8)

    effects = {}
    for half, rows in (("training", table[table["seen"]]), ("test", table[~table["seen"]])):
        values = [rows.loc[rows["diagnosis"] == name, "ld1"] for name in classes]
        if len(classes) == 2 and min(map(len, values)) > 1:
            pooled = np.sqrt(np.mean([v.var(ddof=1) for v in values]))
            effects[half] = float(abs(values[0].mean() - values[1].mean()) / pooled)
    sizes = ", ".join(
        f"{name} {count(int((rows['seen']).sum()), 'training scan')} and "
        f"{count(int((~rows['seen']).sum()), 'test scan')}"
        for name, rows in ((name, table[table["diagnosis"] == name]) for name in classes)
    )
    body = (
        f"(a) y_sem of every scan on the axis that best separates "
        f"{' and '.join(classes)} ({sizes}). The axis is fitted on training subjects (hollow), "
        "which it separates by construction; only the test subjects (filled) show how well the "
        "classes separate. The vertical axis carries no class information by construction and "
        "spreads the points. (b) The same axis, test subjects alone: one row a subject, one dot a "
        "visit."
        + "".join(
            f" Distance of the class means in {half} scans: {number(value, 2)} SD."
            for half, value in effects.items()
        )
    )
    return Drawing(figure, table.drop(columns="seen"), "Discriminant projection of y_sem", body)


def _density(ax: Axes, values: np.ndarray, colour: str, filled: bool) -> None:
    """Kernel density of one class: a filled curve for test scans, a thin line for training ones."""
    if len(values) >= KDE_AT_LEAST and np.ptp(values) > 0:
        pad = 0.6 * np.ptp(values)
        x = np.linspace(values.min() - pad, values.max() + pad, 200)
        y = gaussian_kde(values)(x)
        if filled:
            ax.fill_between(x, y, color=colour, alpha=0.3, lw=0)
        ax.plot(x, y, color=colour, lw=1.2 if filled else 0.8, ls="-" if filled else (0, (3, 2)))
    elif filled:
        for value in values:
            ax.axvline(value, 0, 0.25, color=colour, lw=1)


def _legend(ax: Axes, classes: list[str]) -> None:
    marks = [
        Line2D([], [], ls="", marker="o", ms=4.5, color=DIAGNOSIS[name], label=name)
        for name in classes
    ]
    marks += [
        Line2D([], [], ls="", marker="o", ms=3.5, mfc="none", color=GREY, label="training"),
        Line2D([], [], ls="", marker="o", ms=4.5, color=GREY, label="test"),
    ]
    ax.legend(
        handles=marks,
        ncols=len(marks),
        loc="lower left",
        bbox_to_anchor=(0.02, 0.98),
        borderpad=0,
        columnspacing=1.2,
        handletextpad=0.1,
    )


def _subjects(ax: Axes, table: pd.DataFrame, classes: list[str]) -> None:
    """Test subjects as rows, sorted by class and their mean on the axis."""
    test = table[~table["seen"]]
    row = 0
    ticks = []
    for name in classes:
        mine = test[test["diagnosis"] == name]
        means = mine.groupby("participant_id")["ld1"].mean().sort_values(kind="stable")
        first = row
        for participant in means.index:
            visits = np.sort(mine.loc[mine["participant_id"] == participant, "ld1"])
            ax.plot(visits[[0, -1]], [row, row], color=DIAGNOSIS[name], lw=0.8, alpha=0.6)
            ax.plot(
                visits,
                [row] * len(visits),
                "o",
                ms=3.2,
                mec="white",
                mew=0.4,
                color=DIAGNOSIS[name],
            )
            row += 1
        ticks.append(((first + row - 1) / 2, f"{name}\n({len(means)})"))
        row += 1
    ax.grid(axis="x", color=LIGHT)
    ax.set(
        yticks=[t for t, _ in ticks],
        yticklabels=[t for _, t in ticks],
        ylim=(-1, row - 1),
        xlabel="First discriminant, test subjects",
    )
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
