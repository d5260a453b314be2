"""Figure of what codes tell of the scanner before and after ComBat, against permuted labels."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ldae import systems
from ldae.figures.style import GREY, INK, LIGHT, PAGE, Drawing, letter, new_figure, system_colour
from ldae.files import read_table
from ldae.labels import count, interval, listing, number

INPUTS = {"table": "how well probes tell columns of the scanner (scanner.tsv)"}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
COLUMNS = (
    "column", "system", "harmonised", "value", "ci_low", "ci_high", "chance", "null_low",
    "null_high", "p", "note",
)  # fmt: skip
PLAIN, HARMONISED = "none", "combat"
MOST = 4  # panels; the table has all columns
ROW, SHIFT = 7.0, 0.2  # mm of a system; distance of its two estimates from its place
OWN = "ldae"


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """A panel a column: balanced accuracy of each system, and the range of permuted labels."""
    table = read_table(inputs["table"], COLUMNS)
    told = table[table["value"].notna()]
    columns = list(dict.fromkeys(told["column"]))[:MOST]
    rows = max([told[told["column"] == name]["system"].nunique() for name in columns] or [2])
    height = 26 + ROW * rows
    figure = new_figure(PAGE, height)
    grid = figure.add_gridspec(
        1, max(1, len(columns)), left=0.13, right=0.985, wspace=0.12, top=1 - 14 / height,
        bottom=10 / height,
    )  # fmt: skip
    for place, name in enumerate(columns):
        ax = figure.add_subplot(grid[place])
        _panel(ax, told[told["column"] == name], name, place == 0)
        letter(ax, "abcd"[place], dx=-4)
    if not columns:
        ax = figure.add_subplot(grid[0])
        ax.set(xticks=[], yticks=[])
        ax.annotate("no column of the scanner can be told", xy=(0.5, 0.5), ha="center",
                    xycoords="axes fraction", color=GREY)  # fmt: skip
    figure.legend(handles=_marks(HARMONISED in set(told["harmonised"])), ncols=3, loc="upper left",
                  bbox_to_anchor=(0.01, 1.0))  # fmt: skip
    body = (
        "Balanced accuracy of linear probes on test subjects, with 95 % intervals: codes as they "
        "are, and after ComBat fitted on training scans. Grey: 95 % of permutations of labels "
        "between subjects; dashed: chance."
    )
    return Drawing(figure, table, "What codes tell of the scanner", body, _result(table))


def _panel(ax: Axes, table: pd.DataFrame, column: str, named: bool) -> None:
    names = list(dict.fromkeys(table["system"]))
    both = HARMONISED in set(table["harmonised"])
    for _, one in table.iterrows():
        plain = one["harmonised"] == PLAIN
        row = names.index(one["system"]) + (SHIFT * (-1 if plain else 1) if both else 0)
        colour = system_colour(one["system"])
        ax.fill_between([one["null_low"], one["null_high"]], row - SHIFT, row + SHIFT, color=LIGHT,
                        lw=0, zorder=0)  # fmt: skip
        ax.plot([one["ci_low"], one["ci_high"]], [row, row], color=colour,
                lw=1.6 if plain else 0.9, solid_capstyle="butt")  # fmt: skip
        ax.plot(one["value"], row, "o", ms=5, color=colour, mec="white" if plain else colour,
                mfc=colour if plain else "white", mew=0.5 if plain else 1.0)  # fmt: skip
    ax.axvline(table["chance"].iloc[0], color=GREY, lw=0.8, ls=(0, (3, 2)), zorder=0)
    labels = [systems.system(name).label for name in names] if named else []
    ax.set(yticks=range(len(names)) if named else [], ylim=(len(names) - 0.4, -0.6))
    if named:
        ax.set_yticklabels(labels)
    ax.set(xlim=(-0.02, 1.02), xlabel=column.replace("_", " ").capitalize())
    ax.grid(axis="x", color=LIGHT)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _marks(harmonised: bool) -> list:
    marks: list = [Line2D([], [], color=INK, marker="o", ms=4, lw=1.6, mec="white", mew=0.5,
                          label="Codes as they are")]  # fmt: skip
    if harmonised:
        marks.append(Line2D([], [], color=INK, marker="o", ms=4, lw=0.9, mfc="white", mew=1.0,
                            label="After ComBat"))  # fmt: skip
    return [*marks, Patch(color=LIGHT, label="Permuted labels")]


def _result(table: pd.DataFrame) -> str:
    """What y_sem tells of each column; the columns that cannot be told."""
    own = table[(table["system"] == OWN) & table["value"].notna()]
    words = []
    for column, mine in own.groupby("column", sort=False):
        forms = mine.set_index("harmonised")
        said = f"{column.replace('_', ' ')} {_number(forms.loc[PLAIN])}"
        if HARMONISED in forms.index:
            said += f", after ComBat {_number(forms.loc[HARMONISED])}"
        words.append(f"{said} (chance {number(forms.loc[PLAIN]['chance'], 2)})")
    lacking = list(dict.fromkeys(table.loc[table["value"].isna(), "column"]))
    rest = (
        f"{count(len(lacking), 'column')} cannot be told: "
        f"{listing([name.replace('_', ' ') for name in lacking])}."
    )
    text = f"Balanced accuracy of y_sem: {'; '.join(words)}." if words else ""
    return " ".join(part for part in (text, rest if lacking else "") if part) or (
        f"y_sem is not among the {count(table['system'].nunique(), 'system')} that were asked."
    )


def _number(row: pd.Series) -> str:
    return interval(*(float(row[key]) for key in ("value", "ci_low", "ci_high")), 2)
