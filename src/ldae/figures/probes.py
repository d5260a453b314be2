"""Linear probes: AUROC of the diagnosis and error of the age, for every system (Table 7)."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae import systems
from ldae.errors import require
from ldae.evaluation.probes.scores import COMPARED
from ldae.figures.forest import draw_forest, kind_marks
from ldae.figures.style import GREY, INK, PAGE, Drawing, letter, new_figure
from ldae.files import read_table
from ldae.labels import count, interval, number

INPUTS = {"table": "scores of the linear probes"}
OPTIONAL = {"external": "scores on external test sets (probes_external.tsv), of the LDAE alone"}
DATA = "tsv"
COLUMNS = (
    "target",
    "probe",
    "system",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n_scans",
    "n_subjects",
    "paper",
)
PAPER = {"marker": "D", "ms": 4.5, "mfc": "none", "mec": INK, "mew": 0.9}
PANELS = (
    ("diagnosis", "auroc", "AUROC, AD against CN", 0.5, "chance"),
    ("age", "mae", "Mean absolute error of age (years)", None, ""),
)


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Two forest plots, one row a system, coloured by kind: estimate, 95 % interval, the paper's.

    Below them the LDAE's rows on external test sets, if there are any.
    """
    table = read_table(inputs["table"], COLUMNS).assign(cohort=None)
    if "external" in inputs:
        outside = read_table(inputs["external"], ("cohort", "note", *COLUMNS[:-1]))
        outside = outside[(outside["system"] == COMPARED) & outside["note"].isna()]
        table = pd.concat([table, outside.assign(paper=float("nan"))], ignore_index=True)
    # leaves the regularised probes, and systems that predict without a probe
    table = table[table["probe"] != "paper"]
    wanted = pd.concat(
        [table[(table["target"] == t) & (table["metric"] == m)] for t, m, *_ in PANELS],
        ignore_index=True,
    )
    require(len(wanted) > 0, f"{inputs['table']} has neither AUROC of diagnosis nor MAE of age.")
    # The paper's values stay where data and grid are comparable.
    wanted["paper"] = wanted["paper"].where(wanted["system"].isin(settings.get("paper", ())))
    rows = max(len(wanted[wanted["target"] == target]) for target, *_ in PANELS)
    height = 27 + 6.5 * rows
    figure = new_figure(PAGE, height)
    grid = figure.add_gridspec(
        1, 2, left=0.165, right=0.89, wspace=1.2, top=1 - 13 / height, bottom=10 / height
    )
    found = []
    for index, (target, _, label, reference, word) in enumerate(PANELS):
        ax = figure.add_subplot(grid[index])
        mine = wanted[wanted["target"] == target].reset_index(drop=True)
        _panel(ax, mine, label, reference, word)
        letter(ax, "ab"[index], dx=-25, dy=1.0)
        if len(mine):
            found.append(_sentence(mine, label))
    marks = kind_marks(wanted["system"])
    published = wanted["paper"].notna().any()
    if published:
        marks.append(Line2D([], [], ls="", label="paper", **PAPER))
    figure.legend(
        handles=marks,
        ncols=len(marks),
        loc="upper left",
        bbox_to_anchor=(0.01, 1.0),
        columnspacing=1.4,
    )
    body = (
        "(a) AD against CN, (b) age, predicted from frozen embeddings on test subjects: estimates "
        "and 95 % intervals from resampled subjects, coloured by kind of system"
        f"{'; diamonds: the paper' if published else ''}. Controls: an untrained encoder, "
        "principal components of the latents, volumes, age and sex (or the mean age) alone."
    )
    if "external" in inputs:
        body += " Below: external test sets."
    else:
        wanted = wanted.drop(columns="cohort")
    title = "Linear probes of frozen embeddings"
    return Drawing(figure, wanted, title, body, " ".join(found))


def _panel(ax: Axes, table: pd.DataFrame, label: str, reference: float | None, word: str) -> None:
    """A forest plot with the numbers beside it; a named reference at the lower end."""
    draw_forest(ax, table, "value", [_label(one) for _, one in table.iterrows()], reference)
    for row, one in table.iterrows():
        if pd.notna(one["paper"]):
            ax.plot(one["paper"], row, zorder=4, **PAPER)
        ax.annotate(
            interval(one["value"], one["ci_low"], one["ci_high"], 2),
            xy=(1.03, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=6.2,
        )
    ax.set_xlabel(label)
    if reference is not None:
        ax.annotate(
            word,
            xy=(reference, 0.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=6,
            color=GREY,
        )
        ax.set_xlim(left=min(ax.get_xlim()[0], reference - 0.05), right=min(ax.get_xlim()[1], 1.03))


def _label(row: pd.Series) -> str:
    """Name of a row: its system, and its test set if that is an external one."""
    name = systems.system(row["system"]).label
    return name if pd.isna(row["cohort"]) else f"{name}, {row['cohort']}"


def _sentence(table: pd.DataFrame, label: str) -> str:
    """The first system with its interval, and the others."""
    first = table.iloc[0]
    rest = "; ".join(f"{_label(one)} {number(one['value'], 2)}" for _, one in table[1:].iterrows())
    return (
        f"{label} ({count(int(first['n_scans']), 'scan')} of "
        f"{count(int(first['n_subjects']), 'test subject')}): "
        f"{systems.system(first['system']).label} "
        f"{interval(first['value'], first['ci_low'], first['ci_high'], 2)}"
        f"{'; ' + rest if rest else ''}."
    )
