"""Linear probes: AUROC of the diagnosis and error of the age, for every system (Table 7)."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae import systems
from ldae.errors import require
from ldae.evaluation.probes.scores import COMPARED
from ldae.figures.style import BLACK, GREY, LIGHT, PAGE, Drawing, letter, new_figure, system_colour
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
PANELS = (
    ("diagnosis", "auroc", "AUROC, AD against CN", 0.5, "chance"),
    ("age", "mae", "Mean absolute error of age (years)", None, ""),
)


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Two forest plots, one row a system: estimate, 95 % interval, the paper's value.

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
    rows = max(len(wanted[wanted["target"] == target]) for target, *_ in PANELS)
    height = 24 + 7.5 * rows
    figure = new_figure(PAGE, height)
    grid = figure.add_gridspec(
        1, 2, left=0.165, right=0.89, wspace=1.2, top=1 - 8 / height, bottom=11 / height
    )
    sentences = []
    for index, (target, _, label, reference, word) in enumerate(PANELS):
        ax = figure.add_subplot(grid[index])
        mine = wanted[wanted["target"] == target].reset_index(drop=True)
        _forest(ax, mine, label, reference, word, digits=2)
        letter(ax, "ab"[index], dx=-25)
        if len(mine):
            sentences.append(_sentence("ab"[index], mine, label))
    body = (
        " ".join(sentences)
        + " Dots: estimate on the test subjects; bars: 95 % intervals from resampled subjects"
        + (
            "; diamonds: the paper's value for the same system on ADNI"
            if wanted["paper"].notna().any()
            else ""
        )
        + ". Controls: the same encoder without training, principal components of the "
        "autoencoder's latents, volumes of tissues and ventricles, and what age and sex (or the "
        "mean age) give alone."
    )
    if "external" in inputs:
        body += " Below: the same LDAE and probes on the subjects of external test sets."
    else:
        wanted = wanted.drop(columns="cohort")
    return Drawing(figure, wanted, "Linear probes of frozen embeddings", body)


def _forest(
    ax: Axes, table: pd.DataFrame, label: str, reference: float | None, word: str, digits: int
) -> None:
    for row, one in table.iterrows():
        colour = system_colour(one["system"])
        ax.plot(
            [one["ci_low"], one["ci_high"]], [row, row], color=colour, lw=1.6, solid_capstyle="butt"
        )
        ax.plot(one["value"], row, "o", ms=5, color=colour, mec="white", mew=0.5)
        if pd.notna(one["paper"]):
            ax.plot(one["paper"], row, "D", ms=4.5, mfc="none", mec=BLACK, mew=0.9, zorder=4)
        ax.annotate(
            interval(one["value"], one["ci_low"], one["ci_high"], digits),
            xy=(1.03, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=6.2,
        )
    if reference is not None:
        ax.axvline(reference, color=GREY, lw=0.8, ls=(0, (3, 2)), zorder=0)
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
    ax.set(
        yticks=range(len(table)),
        yticklabels=[_label(one) for _, one in table.iterrows()],
        ylim=(len(table) - 0.4, -0.6),
        xlabel=label,
    )
    ax.grid(axis="x", color=LIGHT)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    if table["paper"].notna().any():
        mark = Line2D([], [], ls="", marker="D", ms=4.5, mfc="none", mec=BLACK, mew=0.9)
        ax.legend(
            [mark],
            ["paper"],
            loc="lower right",
            bbox_to_anchor=(1.0, 0.99),
            borderpad=0,
            handletextpad=0.2,
        )


def _label(row: pd.Series) -> str:
    """Name of a row: its system, and its test set if that is an external one."""
    name = systems.system(row["system"]).label
    return name if pd.isna(row["cohort"]) else f"{name}, {row['cohort']}"


def _sentence(panel: str, table: pd.DataFrame, label: str) -> str:
    first = table.iloc[0]
    rest = "; ".join(f"{_label(one)} {number(one['value'], 2)}" for _, one in table[1:].iterrows())
    return (
        f"({panel}) {label}: {systems.system(first['system']).label} "
        f"{interval(first['value'], first['ci_low'], first['ci_high'], 2)}"
        f"{'; ' + rest if rest else ''} ({count(int(first['n_scans']), 'scan')} of "
        f"{count(int(first['n_subjects']), 'test subject')})."
    )
