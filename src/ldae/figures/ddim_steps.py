"""Table 6 as a figure: quality against DDIM steps, and the control with a wrong y_sem."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ldae import systems
from ldae.errors import require
from ldae.figures.style import (
    BLACK,
    GREY,
    LDAE,
    LIGHT,
    PAGE,
    Drawing,
    letter,
    log_steps,
    new_figure,
    system_colour,
)
from ldae.files import read_table
from ldae.labels import count, interval

INPUTS = {
    "table": "means of every system with intervals (reconstruction.tsv)",
    "controls": "paired differences (controls.tsv)",
    "scans": "the same measures scan by scan",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
LINES = {  # (system, variant): label, marker, line style
    ("autoencoder", "reconstruction"): ("AutoencoderKL", "", "-"),
    ("lddim", "encoded"): ("LDDIM, encoded $z_T$", "s", "-"),
    ("ldae", "encoded"): ("LDAE, encoded $z_T$", "o", "-"),
    ("ldae", "y_sem"): (r"LDAE, $y_\mathrm{sem}$ alone", "^", (0, (4, 1.6))),
}
PAPER = {"marker": "D", "ls": ":", "lw": 0.7, "ms": 3.6, "mfc": "white", "mew": 0.8}
CONTROLS = {"y_sem": "own", "wrong_y_sem": "another\nsubject's", "mean_y_sem": "training\nmean"}


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Panels: SSIM, LPIPS (or SSIM in the brain) and MSE against T; SSIM by y_sem, scan by scan."""
    table = read_table(
        inputs["table"],
        (
            "system",
            "variant",
            "T",
            "metric",
            "value",
            "ci_low",
            "ci_high",
            "paper",
            "n_scans",
            "n_subjects",
        ),
    )
    scans = read_table(inputs["scans"], ("scan_id", "system", "variant", "T", "ssim"))
    controls = read_table(
        inputs["controls"],
        ("comparison", "T", "metric", "difference", "ci_low", "ci_high", "n_scans", "n_better"),
    )
    require(table["T"].notna().any(), f"{inputs['table']} has no row with DDIM steps.")
    measures = set(table["metric"])
    second = next((m for m in sorted(measures) if systems.is_lpips(m)), "ssim_brain")
    panels = [name for name in ("ssim", second, "mse") if name in measures]
    # The paper's values stay where data and grid are comparable.
    table["paper"] = table["paper"].where(table["system"].isin(settings.get("paper", ())))
    published = table.loc[table["metric"].isin(panels), "paper"].notna().any()

    figure = new_figure(PAGE, 66)
    grid = figure.add_gridspec(1, 4, left=0.06, right=0.99, top=0.80, bottom=0.16, wspace=0.42)
    for index, metric in enumerate(panels):
        ax = figure.add_subplot(grid[index])
        _against_steps(ax, table[table["metric"] == metric])
        better = "↑" if systems.metric(metric).higher_is_better else "↓"
        ax.set_title(f"{systems.metric(metric).label} {better}", loc="left")
        letter(ax, "abc"[index])
    ax = figure.add_subplot(grid[3])
    steps, paired = _paired(ax, scans)
    ax.set_title("SSIM, given whose $y_\\mathrm{sem}$", loc="left")
    letter(ax, "abcd"[len(panels)])
    marks = [
        Line2D([], [], color=system_colour(system), marker=marker, ls=line, ms=4, label=label)
        for (system, _), (label, marker, line) in LINES.items()
    ]
    if published:
        marks.append(Line2D([], [], color=GREY, label="paper", **PAPER))
    figure.legend(
        handles=marks,
        ncols=len(marks),
        loc="upper left",
        bbox_to_anchor=(0.05, 1.0),
        columnspacing=1.8,
        handlelength=2.4,
    )

    body = (
        f"(a–{'abc'[len(panels) - 1]}) Test scans against the original, with 95 % intervals from "
        f"resampled subjects{'; diamonds: the paper, Table 6' if published else ''}. "
        f"({'abcd'[len(panels)]}) Decoded from y_sem and the same z_T at T = {steps}, one line a "
        "scan: from the scan's own y_sem, another subject's, and the training scans' mean; bars: "
        "means."
    )
    title = "Reconstruction against DDIM steps, and what y_sem contributes"
    result = _result(table, controls)
    return Drawing(figure, _data(table, panels, paired), title, body, result)


def _against_steps(ax: Axes, table: pd.DataFrame) -> None:
    steps = sorted(table["T"].dropna().unique())
    ends = (steps[0] / 1.35, steps[-1] * 1.35)
    for index, ((system, variant), (_, marker, line)) in enumerate(LINES.items()):
        mine = table[(table["system"] == system) & (table["variant"] == variant)].sort_values("T")
        if mine.empty:
            continue
        colour = system_colour(system)
        if mine["T"].isna().all():  # the autoencoder has no T
            one = mine.iloc[0]
            ax.axhline(one["value"], color=colour, lw=1.0)
            ax.axhspan(one["ci_low"], one["ci_high"], color=colour, alpha=0.08, lw=0)
            if pd.notna(one["paper"]):
                ax.plot(ends[1], one["paper"], mec=colour, clip_on=False, zorder=5, **PAPER)
            continue
        x = mine["T"].astype(float) * 1.05 ** (index - 2)
        ax.vlines(x, mine["ci_low"], mine["ci_high"], color=colour, lw=1.0)
        ax.plot(x, mine["value"], marker=marker, ls=line, ms=4, color=colour, mec="white", mew=0.4)
        ax.plot(mine["T"].astype(float), mine["paper"], color=colour, zorder=4, **PAPER)
    log_steps(ax, steps)
    ax.set(xlim=ends, xlabel="DDIM steps $T$")
    ax.grid(axis="y", color=LIGHT)


def _paired(ax: Axes, scans: pd.DataFrame) -> tuple[int, pd.DataFrame]:
    """One line a scan through its SSIM with its own, another's and the mean y_sem; bars: means.

    Returns:
        The number of DDIM steps, and SSIM by scan (rows) and y_sem (columns).
    """
    mine = scans[(scans["system"] == "ldae") & scans["variant"].isin(CONTROLS)]
    steps = int(mine.loc[mine["variant"] == "wrong_y_sem", "T"].max())
    wide = mine[mine["T"] == steps].pivot(index="scan_id", columns="variant", values="ssim")
    wide = wide[[name for name in CONTROLS if name in wide]].sort_index()
    weight = min(1.0, 12 / len(wide) ** 0.5)
    for _, row in wide.iterrows():
        ax.plot(range(len(row)), row, color=GREY, lw=0.5 * weight + 0.1, alpha=0.5, zorder=1)
    for place, name in enumerate(wide):
        ax.plot(
            [place] * len(wide), wide[name], "o", ms=2.6, color=GREY, mec="white", mew=0.3, zorder=2
        )
        ax.hlines(
            wide[name].mean(),
            place - 0.28,
            place + 0.28,
            color=LDAE if not place else BLACK,
            lw=2,
            zorder=3,
        )
    ax.set(
        xticks=range(wide.shape[1]),
        xticklabels=[CONTROLS[name] for name in wide],
        xlim=(-0.5, wide.shape[1] - 0.5),
    )
    ax.grid(axis="y", color=LIGHT)
    return steps, wide


def _data(table: pd.DataFrame, panels: list[str], paired: pd.DataFrame) -> pd.DataFrame:
    shown = table[table["metric"].isin(panels)].assign(panel="steps")
    lines = paired.reset_index().melt("scan_id", var_name="variant", value_name="value")
    return pd.concat([shown, lines.assign(panel="y_sem", metric="ssim", system="ldae")])


def _result(table: pd.DataFrame, controls: pd.DataFrame) -> str:
    """SSIM of every system at the largest T, and what the scan's own y_sem adds to it."""

    def value(system: str, variant: str, at: int | None) -> str:
        mine = table[(table["system"] == system) & (table["variant"] == variant)]
        mine = mine[
            (mine["metric"] == "ssim") & (mine["T"].isna() if at is None else mine["T"] == at)
        ]
        return interval(*mine[["value", "ci_low", "ci_high"]].iloc[0]) if len(mine) else "–"

    size, last = table.iloc[0], int(table["T"].max())
    text = (
        f"SSIM of {count(int(size['n_scans']), 'scan')} of "
        f"{count(int(size['n_subjects']), 'test subject')}: AutoencoderKL "
        f"{value('autoencoder', 'reconstruction', None)}; at T = {last} LDDIM "
        f"{value('lddim', 'encoded', last)}, LDAE with encoded z_T "
        f"{value('ldae', 'encoded', last)}, with y_sem alone {value('ldae', 'y_sem', last)}."
    )
    gains = []
    for other, words in (("wrong_y_sem", "another subject's"), ("mean_y_sem", "the mean")):
        gap = controls[
            (controls["comparison"] == f"y_sem - {other}") & (controls["metric"] == "ssim")
        ]
        if len(gap):
            one = gap.iloc[0]
            gains.append(
                f"{interval(one['difference'], one['ci_low'], one['ci_high'])} less {words}, "
                f"higher for {int(one['n_better'])} of {count(int(one['n_scans']), 'scan')}"
            )
    return f"{text} SSIM with the scan's own y_sem: {'; '.join(gains)}." if gains else text
