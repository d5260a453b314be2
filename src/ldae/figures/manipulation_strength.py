"""Effect of manipulation on the image against its strength, measured over all test scans."""

from typing import Any

import pandas as pd

from ldae.errors import require
from ldae.evaluation.manipulation_tables import monotonicity_sentence
from ldae.figures.strength_lines import VARIANTS, draw_line, legend_marks
from ldae.figures.style import GREY, LIGHT, PAGE, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, interval, listing
from ldae.systems import lower_first

INPUTS = {"table": "measures by direction, variant and strength (manipulation.tsv)"}
OPTIONAL = {"trends": "how steady each scan's change is (manipulation_trends.tsv), for the caption"}
DATA = "tsv"
PANELS = (
    ("change_ventricle_ml", "Ventricles\n(change, ml)"),
    ("change_hippocampus_ml", "Hippocampi\n(change, ml)"),
    ("change_logit_decoded", "AD logit of the\ndecoded image (change)"),
    ("ssim_elsewhere", "SSIM to α = 0,\nboth regions left out"),
    ("change_age_decoded", "Age predicted from the\nimage (change, years)"),
    ("sex_kept", "Share with the same\npredicted sex"),
)


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Six panels against alpha, one line per direction and variant; random variants are grey."""
    table = read_table(
        inputs["table"],
        (
            "direction",
            "way",
            "alpha",
            "metric",
            "value",
            "ci_low",
            "ci_high",
            "n_scans",
            "n_subjects",
        ),
    )
    trends = None
    if inputs.get("trends"):
        columns = ("direction", "way", "measure", "statistic", "value", "ci_low", "ci_high")
        trends = read_table(inputs["trends"], columns)
    wanted = [name for name, _ in PANELS]
    shown = table[table["metric"].isin(wanted)].reset_index(drop=True)
    require(len(shown) > 0, f"{inputs['table']} has none of the measures {', '.join(wanted)}.")
    directions = list(shown["direction"].drop_duplicates())
    figure = new_figure(PAGE, 104)
    grid = figure.add_gridspec(
        2, 3, left=0.105, right=0.985, top=0.885, bottom=0.085, wspace=0.52, hspace=0.32
    )
    for index, (metric, label) in enumerate(PANELS):
        ax = figure.add_subplot(grid[divmod(index, 3)])
        mine = shown[shown["metric"] == metric]
        for place, (direction, variant) in enumerate((d, v) for d in directions for v in VARIANTS):
            part = mine[(mine["direction"] == direction) & (mine["way"] == variant)]
            draw_line(ax, part, direction, variant, place - 2.5)
        if metric.startswith("change"):
            ax.axhline(0, color=GREY, lw=0.7, zorder=0)
        if metric == "sex_kept":
            ax.set_ylim(-0.04, 1.04)
        ax.set(xlabel=r"Strength $\alpha$" if index > 2 else "", ylabel=label)
        ax.grid(axis="y", color=LIGHT)
        letter(ax, "abcdef"[index], dx=-15)
    marks = legend_marks(directions)
    figure.legend(
        handles=marks,
        ncols=len(marks),
        loc="upper left",
        bbox_to_anchor=(0.07, 1.0),
        columnspacing=1.8,
        handlelength=2.4,
    )
    body = _body(shown, trends)
    return Drawing(figure, shown, "Effect of manipulation against its strength", body)


def _body(table: pd.DataFrame, trends: pd.DataFrame | None) -> str:
    last = table["alpha"].max()
    text = (
        "Means over test scans with 95 % intervals from resampled subjects; changes are paired, "
        "from α = 0. (a) Fluid in a fixed box around the lateral ventricles and (b) grey matter in "
        "fixed ellipsoids around the hippocampi: soft proxies, not segmentations, expected to fall "
        "and to rise towards CN, to rise and to fall towards AD. (c) Logit for AD of the decoded "
        "image, encoded again. (d–f) What should stay: the brain elsewhere, and age and sex as "
        "linear probes predict them. Orthogonal: without the part of the direction that changes "
        "the predicted age; random: as far in a direction drawn for each scan."
    )
    plain = table[table["way"] == "plain"]
    for direction, part in plain[plain["alpha"] == last].groupby("direction", sort=False):
        found = part.set_index("metric")
        words = [
            f"{name} {interval(*found.loc[metric, ['value', 'ci_low', 'ci_high']], digits)}{unit}"
            for metric, name, unit, digits in (
                ("change_ventricle_ml", "ventricles", " ml", 2),
                ("change_hippocampus_ml", "hippocampi", " ml", 2),
                ("change_age_decoded", "predicted age", " years", 1),
            )
            if metric in found.index
        ]
        size = part.iloc[0]
        text += (
            f" {direction.replace(' to ', ' → ')} at α = {last:g}, along the classifier: "
            f"{listing(words)} ({count(int(size['n_scans']), 'scan')} of "
            f"{count(int(size['n_subjects']), 'subject')})."
        )
        volume = plain[(plain["direction"] == direction) & (plain["metric"] == PANELS[0][0])]
        text += f" Ventricles: {lower_first(monotonicity_sentence(volume))}" if len(volume) else ""
        text += _steady(trends, direction)
    return text


def _steady(trends: pd.DataFrame | None, direction: str) -> str:
    """Sentence on the share of scans that change as expected at every step of alpha."""
    if trends is None:
        return ""
    mine = trends[(trends["direction"] == direction) & (trends["way"] == "plain")]
    mine = mine[mine["statistic"] == "monotone"].set_index("measure")["value"]
    names = (("ventricle_ml", "of the ventricles"), ("hippocampus_ml", "of the hippocampi"))
    parts = [f"{name} in {mine[key]:.0%}" for key, name in names if key in mine.index]
    return f" The change {listing(parts)} of the scans goes the expected way at every step of α."
