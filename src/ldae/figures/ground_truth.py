"""Probes of y_sem against the known atrophy and age (synthetic cohorts only)."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ldae import systems
from ldae.errors import require
from ldae.figures.forest import draw_forest
from ldae.figures.style import GREY, LDAE, LIGHT, PAGE, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, interval

INPUTS = {
    "predictions": "outputs of the probes beside the truth, scan by scan",
    "table": "correlations with the truth (truth.tsv)",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
PANELS = (
    ("atrophy_probe", "atrophy", "Known atrophy", "Atrophy probe"),
    ("diagnosis_probe", "atrophy", "Known atrophy", "AD logit of diagnosis probe"),
    ("age_probe", "age", "Age (years)", "Age probe (years)"),
)


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Scatter of probe outputs of the LDAE against the truth, and all systems' correlations."""
    points = read_table(
        inputs["predictions"],
        ("system", "scan_id", "participant_id", "prediction", "output", "age", "atrophy"),
    )
    scores = read_table(
        inputs["table"],
        (
            "prediction",
            "truth",
            "system",
            "reference",
            "r",
            "ci_low",
            "ci_high",
            "n_scans",
            "n_subjects",
        ),
    )
    own = scores[scores["reference"].isna()]
    mine = points[points["system"] == "ldae"]
    require(len(mine) > 0, f"{inputs['predictions']} has no row of the system 'ldae'.")
    figure = new_figure(PAGE, 58)
    grid = figure.add_gridspec(1, 3, left=0.065, right=0.70, top=0.86, bottom=0.17, wspace=0.45)
    beside = figure.add_gridspec(1, 1, left=0.855, right=0.985, top=0.86, bottom=0.17)
    drawn, found = [], []
    for index, (probe, truth, xlabel, ylabel) in enumerate(PANELS):
        ax = figure.add_subplot(grid[index])
        part = mine[mine["prediction"] == probe].sort_values("scan_id")
        _scatter(ax, part, truth, equal=probe in ("atrophy_probe", "age_probe"))
        ax.set(xlabel=xlabel, ylabel=ylabel)
        score = own[
            (own["prediction"] == probe) & (own["truth"] == truth) & (own["system"] == "ldae")
        ]
        if len(score):
            one = score.iloc[0]
            words = interval(one["r"], one["ci_low"], one["ci_high"], 2)
            ax.set_title(f"r = {words}", loc="left", fontsize=6.5)
            found.append(f"{systems.lower_first(ylabel.removesuffix(' (years)'))} r = {words}")
        letter(ax, "abc"[index], dx=-9)
        drawn.append(part)
    ax = figure.add_subplot(beside[0])
    compared = own[(own["prediction"] == "atrophy_probe") & (own["truth"] == "atrophy")]
    compared = compared.reset_index(drop=True)
    names = [systems.system(name).label for name in compared["system"]]
    draw_forest(ax, compared, "r", names, reference=0.0)
    ax.set_xlabel("r with known atrophy")
    letter(ax, "d", dx=-23)
    size = own.iloc[0]
    body = (
        "Linear probes of y_sem, fitted on training subjects, against the truth of synthetic test "
        "scans; lines join the visits of a subject; grey: perfect agreement, where both axes have "
        "one unit. (d) Correlation of the atrophy probe with the truth by system. 95 % intervals "
        "from resampled subjects."
    )
    others = [
        f"{systems.system(one.system).label} {interval(one.r, one.ci_low, one.ci_high, 2)}"
        for one in compared.itertuples()
        if one.system != "ldae"
    ]
    result = (
        f"Correlation with the truth in {count(int(size['n_scans']), 'scan')} of "
        f"{count(int(size['n_subjects']), 'test subject')}: {'; '.join(found)}."
    )
    if others:
        result += f" Other systems' atrophy probe: {'; '.join(others)}."
    data = pd.concat(drawn, ignore_index=True)
    return Drawing(figure, data, "What y_sem knows of the synthetic truth", body, result)


def _scatter(ax: Axes, table: pd.DataFrame, truth: str, equal: bool) -> None:
    for _, visits in table.groupby("participant_id"):
        visits = visits.sort_values(truth)
        ax.plot(visits[truth], visits["output"], color=LDAE, lw=0.6, alpha=0.5)
    ax.plot(table[truth], table["output"], "o", ms=3.4, color=LDAE, mec="white", mew=0.4)
    if equal:
        ends = table[[truth, "output"]].to_numpy()
        ax.plot([ends.min(), ends.max()], [ends.min(), ends.max()], color=GREY, lw=0.8, zorder=0)
    ax.grid(color=LIGHT)
