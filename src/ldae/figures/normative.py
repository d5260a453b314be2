"""Normative view: test people against centile curves along age, by sex; calibration below."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ldae.evaluation.normative.curves import SEXES, NormativeCurves
from ldae.evaluation.normative.measures import MEASURES
from ldae.figures.style import DIAGNOSIS, GREY, LIGHT, PAGE, SHADES, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import interval, listing, number, ordinal

INPUTS = {
    "curves": "centile curves (normative.json)",
    "people": "test scans among them (normative_people.tsv)",
    "table": "calibration and deviations (normative.tsv)",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
PEOPLE = ("scan_id", "participant_id", "diagnosis", "sex", "age", "measure", "value", "deviation")
TABLE = ("measure", "diagnosis", "quantity", "centile", "expected", "value", "ci_low", "ci_high")
SHOWN = ("ventricle_ml", "hippocampus_ml", "logit", "predicted_age")
TITLE = "Against healthy people of the same age and sex"
POINTS = 100  # ages of a drawn curve


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Curves with a dot a test person, women above men; shares below each centile in the third row.

    Without curves the figure is empty, and says why.
    """
    curves = NormativeCurves.load(inputs["curves"])
    people, table = read_table(inputs["people"], PEOPLE), read_table(inputs["table"], TABLE)
    shown = [name for name in SHOWN if name in curves.coefficients]
    if not shown:
        return _empty(curves, people)
    dots = first_scans(people[people["measure"].isin(shown)], classes := _classes(table))
    figure = new_figure(PAGE, 128)
    grid = figure.add_gridspec(
        3, len(shown), left=0.075, right=0.985, top=0.93, bottom=0.075, hspace=0.42, wspace=0.42
    )
    for column, measure in enumerate(shown):
        mine = dots[dots["measure"] == measure]
        first = None
        for row, (sex, name) in enumerate(SEXES.items()):
            ax = figure.add_subplot(grid[row, column], sharex=first, sharey=first)
            first = first or ax
            _curves(ax, curves, measure, sex, mine[mine["sex"] == sex], classes)
            if column == 0:
                letter(ax, "ab"[row], dx=-12)
                ax.set_ylabel({"female": "Women", "male": "Men"}[name])
            if row == 0:
                about = MEASURES[measure]
                ax.set_title(f"{about.label} ({about.unit})" if about.unit else about.label)
            else:
                ax.set_xlabel("Age (years)")
        ax = figure.add_subplot(grid[2, column])
        _shares(ax, table[table["measure"] == measure], classes)
        if column == 0:
            letter(ax, "c", dx=-12)
            ax.set_ylabel("Share below")
            ax.legend(loc="upper left", handletextpad=0.3, borderpad=0)
    lowest, highest = (ordinal(curves.centiles[place]) for place in (0, -1))
    body = (
        f"(a) Women, (b) men: centiles of {curves.reference} training people "
        f"({listing([f'{one:g}' for one in curves.centiles])}; dashed: {lowest} and {highest}) and "
        f"test people, a dot each at their first scan. (c) Share of test people below each "
        "centile, with 95 % intervals; dotted: as expected. For research, not a clinical reference."
    )
    return Drawing(figure, dots, TITLE, body, _result(curves, table, shown, classes))


def first_scans(people: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """The first scan within the range of ages of each person of the classes, for each measure."""
    inside = people[people["deviation"].notna() & people["diagnosis"].isin(classes)]
    ordered = inside.sort_values(["measure", "participant_id", "age", "scan_id"])
    return ordered.drop_duplicates(["measure", "participant_id"]).reset_index(drop=True)


def _classes(table: pd.DataFrame) -> list[str]:
    """Diagnoses of the table, that of the curves first."""
    return [str(name) for name in table["diagnosis"].dropna().drop_duplicates()]


def _curves(
    ax: Axes,
    curves: NormativeCurves,
    measure: str,
    sex: str,
    dots: pd.DataFrame,
    classes: list[str],
) -> None:
    ages = np.linspace(*curves.ages, POINTS)
    levels = curves.at(measure, ages, [sex] * POINTS)
    middle = int(np.argmin(np.abs(np.array(curves.centiles) - 50)))
    for place, one in enumerate(levels.T):
        outer = place in (0, len(curves.centiles) - 1)
        ax.plot(
            ages, one, color=SHADES[0] if place == middle else SHADES[2],
            lw=1.2 if place == middle else 0.8, ls=(0, (3, 2)) if outer else "-", zorder=1,
        )  # fmt: skip
    for name in classes:
        mine = dots[dots["diagnosis"] == name]
        ax.scatter(
            mine["age"], mine["value"], s=7, color=_colour(name), edgecolors="white",
            linewidths=0.25, zorder=2,
        )  # fmt: skip
    ax.grid(color=LIGHT)


def _shares(ax: Axes, table: pd.DataFrame, classes: list[str]) -> None:
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=(0, (1, 2)))
    for place, name in enumerate(classes):
        mine = table[(table["quantity"] == "below") & (table["diagnosis"] == name)]
        x = mine["centile"] / 100 + 0.012 * (2 * place - 1)  # intervals side by side
        ax.vlines(x, mine["ci_low"], mine["ci_high"], color=_colour(name), lw=0.8)
        ax.plot(x, mine["value"], ls="", marker="o", ms=3, color=_colour(name), label=name)
    ax.set(xlabel="Centile (share expected)", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    ax.grid(color=LIGHT)


def _colour(diagnosis: str) -> str:
    return DIAGNOSIS.get(diagnosis, GREY)


def _empty(curves: NormativeCurves, people: pd.DataFrame) -> Drawing:
    figure = new_figure(PAGE, 20)
    figure.text(0.5, 0.5, f"No curves: {curves.note}", ha="center", va="center", color=GREY)
    body = "Centile curves of healthy training people, with test people. There are none."
    return Drawing(figure, people, TITLE, body, f"There are no curves: {curves.note}.")


def _result(
    curves: NormativeCurves, table: pd.DataFrame, shown: list[str], classes: list[str]
) -> str:
    """How many held-out healthy people lie between the outer centiles; patients' deviations."""
    low, high = curves.centiles[0], curves.centiles[-1]
    inside = []
    below = table[table["quantity"] == "below"]
    for measure in shown:
        own = below[(below["measure"] == measure) & (below["diagnosis"] == curves.reference)]
        shares = own.set_index("centile")["value"]
        if len(shares):
            inside.append(f"{number(shares[high] - shares[low], 2)} ({_word(measure)})")
    words = [
        f"The share of held-out {curves.reference} people between the {ordinal(low)} and the "
        f"{ordinal(high)} centile, expected {(high - low) / 100:g}, is {listing(inside)}."
        if inside
        else f"There is no held-out {curves.reference} person in the range of ages."
    ]
    ill = [name for name in classes if name != curves.reference]
    means = table[(table["quantity"] == "deviation") & table["diagnosis"].isin(ill)]
    means = means[means["measure"].isin(shown)]
    if len(means):
        each = [
            f"{interval(one['value'], one['ci_low'], one['ci_high'], 2)} ({_word(one['measure'])})"
            for _, one in means.iterrows()
        ]
        words.append(f"The mean deviation z of {ill[0]} people is {listing(each)}.")
    return " ".join(words)


def _word(measure: str) -> str:
    label = MEASURES[measure].label
    return label[:1].lower() + label[1:]
