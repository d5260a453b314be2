"""Attention over slices, and checks of the saliency maps by random weights and known truth."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ldae.errors import require
from ldae.figures.style import (
    DIAGNOSIS,
    GREY,
    KINDS,
    LIGHT,
    PAGE,
    SHADES,
    Drawing,
    letter,
    new_figure,
)
from ldae.files import read_table
from ldae.labels import interval, listing, number

INPUTS = {
    "checks": "scores of the maps by level of randomisation (saliency_checks.tsv)",
}
OPTIONAL = {"attention": "attention weight of every slice (slice_attention.tsv)"}
DATA = "tsv"
METHOD = "integrated_gradients"
WEIGHTS = {"heads": ("-", "heads"), "summary": ((0, (3, 2)), "summary")}
LEVELS = {
    "trained": "as trained",
    "image": "no network",
    "probe": "probe",
    "attention": "+ attention",
    "components": "+ components",
    "all": "all weights",
}
LIKENESS, TRUTH = "likeness", "truth_correlation"
LABELS = {
    LIKENESS: (
        "Likeness to the trained map",
        "Rank correlation with those of random weights, layer by layer from the top (Adebayo et "
        "al. 2018).",
    ),
    TRUTH: ("r with the true change", "Correlation with the true change."),
}


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """The maps' likeness to random ones, and to the known truth; attention by slice and class."""
    numbers = ("value", "ci_low", "ci_high")
    checks = read_table(inputs["checks"], ("method", "level", "reference", "measure", *numbers))
    own = checks[checks["reference"].isna() & (checks["method"] == METHOD)]
    panels = [part for name in LABELS if len(part := own[own["measure"] == name])]
    require(bool(panels), f"{inputs['checks']} has no score of the method {METHOD}.")
    attention = None
    if "attention" in inputs:
        columns = ("diagnosis", "weights", "slice", "mm", *numbers)
        attention = read_table(inputs["attention"], columns)
    figure = new_figure(PAGE, 58)
    ratios = [1.0] * len(panels) + [1.6] * (attention is not None)
    grid = figure.add_gridspec(
        1, len(ratios), left=0.115, right=0.985, top=0.86, bottom=0.17, wspace=0.55,
        width_ratios=ratios,
    )  # fmt: skip
    words = []
    for place, part in enumerate(panels):
        ax = figure.add_subplot(grid[place])
        _levels(ax, part)
        label, sentence = LABELS[part["measure"].iloc[0]]
        ax.set_xlabel(label)
        letter(ax, "abc"[place], dx=-19)
        words.append(f"({'abc'[place]}) {sentence}")
    if attention is not None:
        ax = figure.add_subplot(grid[len(panels)])
        _attention(ax, attention)
        letter(ax, "abc"[len(panels)], dx=-11)
        words.append(f"({'abc'[len(panels)]}) Attention by slice; grey: equal weights.")
    body = (
        "Integrated gradients, by the sizes of the maps over the brain's voxels. "
        f"{' '.join(words)} 95 % intervals over subjects."
    )
    data = own if attention is None else pd.concat([own, attention], ignore_index=True)
    return Drawing(figure, data, "Checks of the saliency maps", body, _result(checks, attention))


def _attention(ax: Axes, table: pd.DataFrame) -> None:
    for (diagnosis, kind), part in table.groupby(["diagnosis", "weights"], sort=False):
        line, label = WEIGHTS[kind]
        colour = DIAGNOSIS.get(diagnosis, SHADES[0])
        ax.fill_between(part["mm"], part["ci_low"], part["ci_high"], color=colour, alpha=0.2, lw=0)
        ax.plot(part["mm"], part["value"], color=colour, ls=line, label=f"{diagnosis}, {label}")
    ax.axhline(1 / table["slice"].nunique(), color=GREY, lw=0.8, zorder=0)
    ax.set(xlabel="Place of the slice (mm)", ylabel="Attention weight", ylim=(0, None))
    ax.grid(axis="y", color=LIGHT)
    ax.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)


def _levels(ax: Axes, table: pd.DataFrame) -> None:
    """One row a level, estimate and interval; the trained map stands out."""
    table = table.reset_index(drop=True)
    for row, one in table.iterrows():
        colour = KINDS["ldae" if one["level"] == "trained" else "none"].colour
        ax.plot([one["ci_low"], one["ci_high"]], [row, row], color=colour, lw=1.6,
                solid_capstyle="butt")  # fmt: skip
        ax.plot(one["value"], row, "o", ms=4, color=colour, mec="white", mew=0.5)
    ax.axvline(0, color=GREY, lw=0.8, zorder=0)
    names = [LEVELS.get(level, f"+ {level}") for level in table["level"]]
    ax.set(yticks=range(len(table)), yticklabels=names, ylim=(len(table) - 0.4, -0.6))
    ax.grid(axis="x", color=LIGHT)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _result(checks: pd.DataFrame, attention: pd.DataFrame | None) -> str:
    """Agreement with the truth, likeness to maps of random weights, and where attention lies."""
    mine = checks[checks["method"] == METHOD]
    trained = mine[(mine["level"] == "trained") & (mine["measure"] == TRUTH)]
    random = mine[(mine["level"] == "all") & (mine["measure"] == LIKENESS)]
    words = [
        f"with the true change by {_number(one)}"
        if pd.isna(one["reference"])
        else f"{_number(one)} more with it than maps of random weights do"
        for _, one in trained.iterrows()
        if pd.isna(one["reference"]) or one["reference"] == "all"
    ]
    words += [f"with maps of random weights by {_number(one)}" for _, one in random.iterrows()]
    text = f"The sizes of integrated gradients correlate {'; '.join(words)}."
    if attention is None:
        return text
    peaks = []
    heads = attention[attention["weights"] == "heads"]
    for diagnosis, part in heads.groupby("diagnosis", sort=False):
        top = part.loc[part["value"].idxmax()]
        place = number(float(top["mm"]), 0)
        peaks.append(f"{place} mm for {diagnosis} (weight {number(top['value'])})")
    return f"{text} Most attention lies at {listing(peaks)}."


def _number(row: pd.Series) -> str:
    return interval(*(float(row[key]) for key in ("value", "ci_low", "ci_high")), 2)
