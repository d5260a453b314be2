"""Figure 5: linear discriminant projection of y_sem, with the densities of people by class."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.stats import gaussian_kde

from ldae.figures.style import DIAGNOSIS, GREY, LIGHT, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, listing, number

INPUTS = {"projection": "lda_projection.tsv of the probes"}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
COLUMNS = ("scan_id", "participant_id", "split", "diagnosis", "ld1", "ld2")
KDE_AT_LEAST = 5  # people; fewer are shown as ticks alone


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Scatter of scans on two axes, densities of people above; test people by visit beside."""
    table = read_table(inputs["projection"], COLUMNS).sort_values("scan_id", ignore_index=True)
    table["seen"] = table["split"] != "test"
    classes = [name for name in DIAGNOSIS if name in set(table["diagnosis"])]
    people = means_of_people(table)

    figure = new_figure(150, 88)
    grid = figure.add_gridspec(
        2,
        2,
        width_ratios=[3, 2],
        height_ratios=[1, 2.6],
        wspace=0.3,
        hspace=0.06,
        left=0.105,
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
            s=9,
            facecolors="none",
            edgecolors=colour,
            linewidths=0.6,
            alpha=0.6,
        )
        main.scatter(
            test["ld1"],
            test["ld2"],
            s=16,
            color=colour,
            edgecolors="white",
            linewidths=0.4,
            zorder=3,
        )
        mine = people[people["diagnosis"] == name]
        for seen in (True, False):
            _density(top, mine.loc[mine["seen"] == seen, "ld1"].to_numpy(), colour, not seen)
    towards = _direction(people, classes)
    main.set(
        xlabel=f"First discriminant of $y_\\mathrm{{sem}}${towards}", ylabel="PC 1 of the rest"
    )
    top.set(yticks=[], ylim=(0, None), ylabel="People")
    top.spines["left"].set_visible(False)
    top.tick_params(labelbottom=False)
    letter(top, "a", dx=-11)
    _legend(top, classes)
    _subjects(side, table, classes)
    side.set_xlabel(f"First discriminant{towards}")
    letter(side, "b", dx=-9)

    body = (
        f"(a) y_sem on the discriminant between {listing(classes)}, fitted on training people "
        "(hollow, dashed), whom it separates by construction; test people (filled) show how well "
        "it separates. Dots: scans; densities: people, each the mean of their scans. The "
        "vertical axis spreads the dots. (b) Test people, one a row, a dot a visit."
    )
    title = "Discriminant projection of y_sem"
    return Drawing(figure, table.drop(columns="seen"), title, body, _result(people, classes))


def means_of_people(table: pd.DataFrame) -> pd.DataFrame:
    """One row a person and class: the mean of their scans on the first axis.

    Whoever changed class has a row in each.
    """
    key = ["diagnosis", "participant_id", "seen"]
    return table.groupby(key, as_index=False, sort=True)["ld1"].mean()


def separation(people: pd.DataFrame, classes: list[str]) -> float:
    """Mean of the second class less that of the first, in pooled SD; nan for too few people."""
    values = [people.loc[people["diagnosis"] == name, "ld1"] for name in classes]
    if len(values) != 2 or min(map(len, values)) < 2:
        return float("nan")
    pooled = np.sqrt(np.mean([each.var(ddof=1) for each in values]))
    return float((values[1].mean() - values[0].mean()) / pooled)


def _direction(people: pd.DataFrame, classes: list[str]) -> str:
    """On which side training people of the second of two classes lie, for the axis label."""
    step = separation(people[people["seen"]], classes)
    if not np.isfinite(step):
        return ""
    return f" ({classes[1]} →)" if step > 0 else f" (← {classes[1]})"


def _result(people: pd.DataFrame, classes: list[str]) -> str:
    """Separation of test and of training people, in the direction of the second class."""
    tested = people[~people["seen"]]
    sizes = [
        f"{count(int((tested['diagnosis'] == name).sum()), 'test person', 'test people')} ({name})"
        for name in classes
    ]
    fitted, found = (separation(people[people["seen"] == seen], classes) for seen in (True, False))
    if not np.isfinite([fitted, found]).all():
        return f"Too few to measure how well the discriminant of y_sem separates {listing(sizes)}."
    side = np.sign(fitted)
    return (
        f"On the discriminant of y_sem, {sizes[1]} lie on average {number(side * found, 2)} pooled "
        f"SD from {sizes[0]} in the direction of {classes[1]}; of the training people, whom the "
        f"axis was fitted on, {number(side * fitted, 2)} SD."
    )


def _density(ax: Axes, values: np.ndarray, colour: str, filled: bool) -> None:
    """Kernel density of one class: a filled curve for test people, a line for training ones."""
    if len(values) >= KDE_AT_LEAST and np.ptp(values) > 0:
        pad = 0.4 * np.ptp(values)
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
        Line2D([], [], ls=(0, (3, 2)), lw=0.8, marker="o", ms=3.5, mfc="white", color=GREY,
               label="training"),
        Line2D([], [], marker="o", ms=4.5, color=GREY, mec="white", mew=0.4, label="test"),
    ]  # fmt: skip
    ax.legend(
        handles=marks,
        ncols=len(marks),
        loc="lower left",
        bbox_to_anchor=(0.02, 0.98),
        borderpad=0,
        columnspacing=1.2,
        handlelength=1.8,
        handletextpad=0.4,
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
    ax.set(yticks=[t for t, _ in ticks], yticklabels=[t for _, t in ticks], ylim=(-1, row - 1))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
