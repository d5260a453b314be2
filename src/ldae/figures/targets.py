"""Targets of the probes: the LDAE and the best baseline; calibration and net benefit."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ldae import systems
from ldae.errors import require
from ldae.evaluation.probes.scores import COMPARED
from ldae.evaluation.probes.summary import BENEFIT, CURVE, FROZEN, TREAT_ALL
from ldae.figures.forest import draw_forest, kind_marks
from ldae.figures.style import GREY, LIGHT, PAGE, SHADES, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, interval, number

INPUTS = {
    "table": "discrimination of every target (targets.tsv)",
    "calibration": "calibration and net benefit of binary targets (targets_calibration.tsv)",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
COLUMNS = (
    "target", "label", "split", "system", "metric", "value", "ci_low", "ci_high", "chance",
    "p_holm", "n_scans", "n_subjects",
)  # fmt: skip
OF_CURVES = ("target", "label", "system", "quantity", "at", "value", "ci_low", "ci_high")
CHANCES = ((0.5, "AUROC or concordance"), (0.0, "Correlation with the truth"))
ROW, TOP, GAP, CURVES = 5.2, 12.0, 14.0, 50.0  # mm
MARKS = ("o", "s", "^", "D")


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Forest plots of all targets by kind of score, above curves of the LDAE's probabilities."""
    table = read_table(inputs["table"], COLUMNS)
    shown = best_of_each(table[(table["split"] == FROZEN) & table["chance"].notna()])
    require(len(shown) > 0, f"{inputs['table']} has no target with a score on the frozen split.")
    curves = read_table(inputs["calibration"], OF_CURVES)
    named = list(curves["label"].drop_duplicates())[: len(SHADES)]
    panels = [shown[shown["chance"] == chance] for chance, _ in CHANCES]
    rows = max(map(len, panels))
    below = CURVES + GAP if named else 0.0
    height = TOP + ROW * (rows + 1) + 10 + below
    figure = new_figure(PAGE, height)
    forest = figure.add_gridspec(
        1, 2, left=0.2, right=0.985, wspace=0.62, top=1 - TOP / height,
        bottom=(10 + below) / height,
    )  # fmt: skip
    for place, ((chance, label), mine) in enumerate(zip(CHANCES, panels, strict=True)):
        ax = figure.add_subplot(forest[place])
        _forest(ax, mine.reset_index(drop=True), label, chance, rows)
        letter(ax, "ab"[place], dx=-32, dy=1.0)
    figure.legend(
        handles=kind_marks(shown["system"]), ncols=5, loc="upper left", bbox_to_anchor=(0.01, 1.0)
    )
    if named:
        lower = figure.add_gridspec(
            1, 2, left=0.09, right=0.985, wspace=0.3, top=CURVES / height, bottom=9 / height
        )
        axes = [figure.add_subplot(lower[place]) for place in range(2)]
        _calibration(axes[0], curves, named)
        _benefit(axes[1], curves, named)
        for ax, text in zip(axes, "cd", strict=True):
            letter(ax, text, dx=-12)
    body = (
        "(a, b) Every target by the LDAE's codes and by the best baseline: estimates and 95 % "
        "intervals over test subjects; dashed: chance."
    )
    if named:
        body += (
            " (c) Observed share against predicted probability, (d) net benefit of treating by "
            "them (dashed: treat all), of binary targets."
        )
    return Drawing(figure, shown, "Targets of the probes", body, _result(shown))


def best_of_each(table: pd.DataFrame) -> pd.DataFrame:
    """Of each target the LDAE's row and that of the best baseline, if there is one."""
    parts = []
    for _, mine in table[table["value"].notna()].groupby("target", sort=False):
        others = mine[mine["system"].map(systems.is_baseline)]
        best = others.loc[[others["value"].idxmax()]] if len(others) else others
        parts.append(pd.concat([mine[mine["system"] == COMPARED], best]))
    return pd.concat(parts, ignore_index=True) if parts else table[:0]


def _forest(ax: Axes, table: pd.DataFrame, label: str, chance: float, rows: int) -> None:
    names = [
        one["label"] if one["system"] == COMPARED else systems.system(one["system"]).label
        for _, one in table.iterrows()
    ]
    draw_forest(ax, table, "value", names, chance)
    ax.set_ylim(rows - 0.4, -0.6)
    ax.set_xlabel(label)
    if table.empty:
        ax.set(xticks=[], yticks=[])
        ax.annotate("no target of this kind", xy=(0.5, 0.5), xycoords="axes fraction",
                    ha="center", color=GREY)  # fmt: skip


def _calibration(ax: Axes, curves: pd.DataFrame, named: list[str]) -> None:
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=(0, (3, 2)))
    for name, colour, mark in zip(named, SHADES, MARKS, strict=False):
        mine = _of(curves, name, CURVE, COMPARED)
        ax.vlines(mine["at"], mine["ci_low"], mine["ci_high"], color=colour, lw=0.8)
        ax.plot(mine["at"], mine["value"], marker=mark, ms=3.5, color=colour, label=name)
    ax.set(xlabel="Predicted probability", ylabel="Observed share", xlim=(-0.02, 1.02))
    ax.set_ylim(-0.05, 1.05)
    ax.grid(color=LIGHT)
    ax.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def _benefit(ax: Axes, curves: pd.DataFrame, named: list[str]) -> None:
    most = 0.0
    for name, colour, mark in zip(named, SHADES, MARKS, strict=False):
        mine, everyone = (_of(curves, name, BENEFIT, one) for one in (COMPARED, TREAT_ALL))
        ax.plot(mine["at"], mine["value"], marker=mark, ms=2.5, color=colour)
        ax.plot(everyone["at"], everyone["value"], color=colour, lw=0.8, ls=(0, (3, 2)))
        most = max(most, float(mine["value"].max()))
    ax.axhline(0, color=GREY, lw=0.8)
    ax.set(xlabel="Threshold probability", ylabel="Net benefit", xlim=(0, 1))
    ax.set_ylim(-0.25 * (most or 0.2), 1.1 * (most or 0.2))  # treat all falls without end
    ax.grid(color=LIGHT)


def _of(curves: pd.DataFrame, label: str, quantity: str, system: str) -> pd.DataFrame:
    keep = (curves["label"] == label) & (curves["quantity"] == quantity)
    return curves[keep & (curves["system"] == system)]


def _result(shown: pd.DataFrame) -> str:
    """How many targets the codes predict better than chance, and each score."""
    own = shown[shown["system"] == COMPARED]
    sure = int((own["p_holm"] < 0.05).sum())
    each = "; ".join(
        f"{one['label']} {interval(one['value'], one['ci_low'], one['ci_high'], 2)}"
        f" (p = {number(one['p_holm'])})"
        for _, one in own.iterrows()
    )
    return (
        f"The LDAE's codes tell {sure} of {count(len(own), 'target')} from chance, corrected for "
        f"their number: {each}."
    )
