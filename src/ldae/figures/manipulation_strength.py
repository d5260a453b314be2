"""Effect of manipulation on the image against its strength, measured over all test scans."""

from typing import Any

import pandas as pd

from ldae.errors import require
from ldae.figures.strength_lines import VARIANTS, draw_line, has_content, legend_marks
from ldae.figures.style import GREY, LIGHT, PAGE, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, interval, listing, number
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
COLUMNS = 3


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Panels against alpha, one line per direction and variant.

    A panel whose measure has one value throughout is left out, and the value stated.
    """
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
    measured = {metric: shown[shown["metric"] == metric] for metric in wanted}
    panels = [(metric, label) for metric, label in PANELS if has_content(measured[metric])]
    require(bool(panels), f"{inputs['table']} has no measure that differs between strengths.")
    rows = -(-len(panels) // COLUMNS)
    height = 16 + 44 * rows
    figure = new_figure(PAGE, height)
    grid = figure.add_gridspec(
        rows, COLUMNS, left=0.105, right=0.985, top=1 - 12 / height, bottom=9 / height,
        wspace=0.52, hspace=0.32,
    )  # fmt: skip
    for index, (metric, label) in enumerate(panels):
        ax = figure.add_subplot(grid[divmod(index, COLUMNS)])
        mine = measured[metric]
        for place, (direction, variant) in enumerate((d, v) for d in directions for v in VARIANTS):
            part = mine[(mine["direction"] == direction) & (mine["way"] == variant)]
            draw_line(ax, part, direction, variant, place - 2.5)
        if metric.startswith("change"):
            ax.axhline(0, color=GREY, lw=0.7, zorder=0)
        last = index >= len(panels) - COLUMNS
        ax.set(xlabel=r"Strength $\alpha$" if last else "", ylabel=label)
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
    title = "Effect of manipulation against its strength"
    body = (
        "Test scans decoded from y_sem moved along the AD–CN classifier, along its part that keeps "
        "the predicted age, and as far at random; 95 % intervals from resampled subjects. Fluid in "
        "a box at the ventricles and grey matter at the hippocampi: proxies, not segmentations. "
        "Logit, age and sex: probes of the decoded image."
    )
    return Drawing(figure, shown, title, body, _result(shown, trends))


def _result(table: pd.DataFrame, trends: pd.DataFrame | None) -> str:
    """Changes at the largest strength, how steady they are, and measures that do not change."""
    last, found = table["alpha"].max(), []
    plain = table[table["way"] == "plain"]
    for direction, part in plain[plain["alpha"] == last].groupby("direction", sort=False):
        values = part.set_index("metric")
        words = [
            f"{name} {interval(*values.loc[metric, ['value', 'ci_low', 'ci_high']], digits)}{unit}"
            for metric, name, unit, digits in (
                ("change_ventricle_ml", "ventricles", " ml", 2),
                ("change_hippocampus_ml", "hippocampi", " ml", 2),
                ("change_age_decoded", "predicted age", " years", 1),
            )
            if metric in values.index
        ]
        size = part.iloc[0]
        found.append(
            f"{direction.replace(' to ', ' → ')}: {listing(words)} "
            f"({count(int(size['n_scans']), 'scan')} of "
            f"{count(int(size['n_subjects']), 'subject')}{_steady(trends, direction)})"
        )
    text = f"Changes at α = {last:g} along the classifier. {'; '.join(found)}."
    for metric, label in PANELS:
        values = table.loc[table["metric"] == metric, "value"]
        if values.nunique() == 1:
            name = lower_first(" ".join(label.split()))
            text += f" Not drawn, being {number(values.max(), 2)} throughout: {name}."
    return text


def _steady(trends: pd.DataFrame | None, direction: str) -> str:
    """Share of scans whose volume changes as expected at every step of alpha."""
    if trends is None:
        return ""
    mine = trends[(trends["direction"] == direction) & (trends["way"] == "plain")]
    mine = mine[mine["statistic"] == "monotone"].set_index("measure")["value"]
    names = (("ventricle_ml", "ventricles"), ("hippocampus_ml", "hippocampi"))
    parts = [f"{name} in {100 * mine[key]:.0f} %" for key, name in names if key in mine.index]
    return f"; as expected at every step: {listing(parts)}" if parts else ""
