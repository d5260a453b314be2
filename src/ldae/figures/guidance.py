"""Noise-prediction loss on test scans with own, another subject's, mean and no y_sem."""

from typing import Any

import numpy as np

from ldae.figures.style import GREY, INK, LDAE, LIGHT, Drawing, new_figure
from ldae.files import read_table
from ldae.labels import count, interval, listing

INPUTS = {"table": "paired differences of the noise-prediction loss"}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
METRIC = "weighted_loss"
# (system, reference): label, colour, marker, filled or not. The scan's own y_sem is in colour.
SHOWN = {
    ("right_y_sem", "ldm"): ("own $y_\\mathrm{sem}$ − none", LDAE, "o", True),
    ("right_y_sem", "wrong_y_sem"): ("own − another's", LDAE, "D", False),
    ("wrong_y_sem", "ldm"): ("another's $y_\\mathrm{sem}$ − none", INK, "s", True),
    ("mean_y_sem", "ldm"): ("mean $y_\\mathrm{sem}$ − none", GREY, "^", False),
}
QUARTILES = ("1", "2", "3", "4", "all")


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Differences of the loss by quartile of the timestep; below zero the first is better."""
    table = read_table(
        inputs["table"],
        (
            "system",
            "reference",
            "quartile",
            "metric",
            "difference",
            "ci_low",
            "ci_high",
            "n_scans",
            "n_subjects",
        ),
    )
    table["quartile"] = table["quartile"].astype(str).str.removesuffix(".0")
    shown = table[table["metric"] == METRIC].reset_index(drop=True)
    figure = new_figure(140, 62)
    ax = figure.add_axes([0.165, 0.185, 0.815, 0.70])
    for index, ((system, reference), (label, colour, marker, filled)) in enumerate(SHOWN.items()):
        mine = shown[(shown["system"] == system) & (shown["reference"] == reference)]
        x = np.array([QUARTILES.index(q) for q in mine["quartile"]]) + (index - 1.5) * 0.14
        ax.vlines(x, mine["ci_low"], mine["ci_high"], color=colour, lw=1.3)
        face = (
            {"mfc": colour, "mec": "white", "mew": 0.4} if filled else {"mfc": "white", "mew": 0.8}
        )
        ax.plot(x, mine["difference"], marker, ms=4.5, color=colour, label=label, **face)
    ax.axhline(0, color=GREY, lw=0.8, zorder=0)
    ax.axvspan(3.5, 4.5, color=LIGHT, alpha=0.5, lw=0, zorder=0)
    ax.set(
        xticks=range(5),
        xlim=(-0.5, 4.5),
        xticklabels=["1\n(little noise)", "2", "3", "4\n(mostly noise)", "all"],
        xlabel="Quartile of the timestep $t$",
        ylabel="Difference of the weighted loss\n(below 0: the first is better)",
    )
    ax.grid(axis="y", color=LIGHT)
    ax.legend(
        ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), handletextpad=0.1, columnspacing=1.4
    )

    overall = shown[shown["quartile"] == "all"].set_index(["system", "reference"])
    found = [
        f"{interval(*overall.loc[key, ['difference', 'ci_low', 'ci_high']], 4)} {words}"
        for key, words in (
            (("right_y_sem", "ldm"), "from no guidance"),
            (("right_y_sem", "wrong_y_sem"), "from another subject's y_sem"),
        )
        if key in overall.index
    ]
    size = shown.iloc[0]
    body = (
        "Weighted noise-prediction loss (Eqs. 9 and 10) on test scans, with the same latents, "
        "timesteps and noise for all: paired differences by quartile of the timestep, with 95 % "
        "intervals from resampled subjects. Below 0, the first of the two is better."
    )
    result = (
        "Over all timesteps, the scan's own y_sem changes the weighted loss by "
        f"{listing(found)} ({count(int(size['n_scans']), 'scan')} of "
        f"{count(int(size['n_subjects']), 'test subject')})."
    )
    title = "What guidance by y_sem does to the noise estimate"
    return Drawing(figure, shown, title, body, result)
