"""From every image of the download to the scans used: a flow chart with counts and reasons."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ldae.errors import require
from ldae.figures.style import DIAGNOSIS, GREY, INK, PAGE, new_figure
from ldae.figures.text import Drawing, count, listing
from ldae.files import read_table

INPUTS = {
    "flow": "images lost at each stage (flow.tsv)",
    "index": "scans of the volume store with split and diagnosis (index.tsv)",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
SPLITS = {"train": "Training", "val": "Validation", "test": "Test"}
STAGES = {
    "metadata": "Study tables",
    "adni_qc": "ADNI's quality check",
    "selection": "Choice of one scan per visit",
    "conversion": "Conversion to BIDS",
    "exclude": "Exclusion by hand",
    "n4": "Bias field correction",
    "brain": "Brain extraction",
    "registration": "Registration and its quality check",
}
LINE = 3.4  # mm
PAD = 1.6  # mm


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Boxes top down: images, those left after each stage with the exclusions beside, splits."""
    flow = read_table(inputs["flow"], ("stage", "images", "subjects", "remaining", "explanation"))
    scans = read_table(inputs["index"], ("scan_id", "participant_id", "split", "diagnosis"))
    rows = flow.set_index("stage")
    require("download" in rows.index, f"{inputs['flow']} has no row for the stage 'download'.")
    figure = _chart(flow, rows, scans)

    total, used = int(rows.loc["download", "images"]), len(scans)
    sides = listing(
        [
            f"{name.lower()} {count(len(part), 'scan')} of "
            f"{count(part['participant_id'].nunique(), 'subject')}"
            for key, name in SPLITS.items()
            if len(part := scans[scans["split"] == key])
        ]
    )
    body = (
        f"Every one of the {count(total, 'image')} of "
        f"{count(int(rows.loc['download', 'subjects']), 'subject')} in the download is accounted "
        f"for: {count(used, 'image')} used, {count(total - used, 'image')} excluded at the stages "
        f"shown (one by one, with reasons, in the ledger). Splits are by subject: {sides}."
    )
    if "missing" in rows.index and rows.loc["missing", "images"]:
        lacking = count(int(rows.loc["missing", "images"]), "scan")
        body += f" The study tables name {lacking} more that the download lacks."
    return Drawing(figure, flow, "Flow of images through the workflow", body)


def _chart(flow: pd.DataFrame, rows: pd.DataFrame, scans: pd.DataFrame) -> Figure:
    # Each step: text of the exclusions beside the arrow, text of the box it leads to.
    first = f"{count(int(rows.loc['download', 'images']), 'image')} in the download"
    steps: list[tuple[list[str], str]] = []
    for one in flow[flow["stage"].isin(list(STAGES)) & (flow["images"] > 0)].itertuples():
        beside = [f"{STAGES[one.stage]}: {count(one.images, 'image')} excluded"]
        beside += textwrap.wrap(str(one.explanation), 66)
        steps.append((beside, f"{count(int(one.remaining), 'image')} left"))
    last = (
        f"{count(len(scans), 'scan')} of {count(scans['participant_id'].nunique(), 'subject')} used"
    )
    boxes = [first, *(text for _, text in steps)]
    boxes = [*boxes[:-1], last] if steps else [*boxes, last]

    box_height = LINE + 2 * PAD
    sides = [len(beside) * LINE + 2 * PAD for beside, _ in steps] or [0.0]
    height = 6 + len(boxes) * box_height + sum(size + 3 for size in sides) + 10 + 3 * LINE + 2 * PAD
    figure = new_figure(PAGE, height)
    ax = figure.add_axes([0, 0, 1, 1])
    ax.set(xlim=(0, PAGE), ylim=(height, 0))
    ax.axis("off")
    x, width, y = 38.0, 58.0, 3.0
    _box(ax, x - width / 2, y, width, box_height, [boxes[0]], strong=True)
    y += box_height
    for index, text in enumerate(boxes[1:]):
        size = sides[index]
        _arrow(ax, (x, y), (x, y + size + 3))
        if steps:
            _arrow(ax, (x, y + (size + 3) / 2), (80, y + (size + 3) / 2))
            _box(ax, 80, y + 1.5, 97, size, steps[index][0], align="left", strong=True)
        y += size + 3
        _box(ax, x - width / 2, y, width, box_height, [text], strong=index == len(boxes) - 2)
        y += box_height
    _splits(ax, x, y, scans)
    return figure


def _splits(ax: Axes, x: float, y: float, scans: pd.DataFrame) -> None:
    """One box a split, hanging from the box of used scans at ``x``, ``y``."""
    parts = [(name, scans[scans["split"] == key]) for key, name in SPLITS.items()]
    parts = [(name, part) for name, part in parts if len(part)]
    step = (PAGE - 6) / len(parts)
    centres = [3 + step * (i + 0.5) for i in range(len(parts))]
    ax.plot([x, x], [y, y + 4], color=INK, lw=0.8)
    ax.plot([min(*centres, x), max(*centres, x)], [y + 4] * 2, color=INK, lw=0.8)
    for centre, (name, part) in zip(centres, parts, strict=True):
        _arrow(ax, (centre, y + 4), (centre, y + 9))
        subjects = count(part["participant_id"].nunique(), "subject")
        lines = [name, f"{subjects}, {count(len(part), 'scan')}", _diagnoses(part)]
        left = max(centre - step / 2 + 2, 3.0)
        width = min(step - 4, 56.0)
        _box(
            ax,
            centre - width / 2 if width < step - 4 else left,
            y + 9,
            width,
            3 * LINE + 2 * PAD,
            lines,
            strong=True,
        )


def _diagnoses(part: pd.DataFrame) -> str:
    sizes = part["diagnosis"].fillna("unknown").value_counts()
    order = [name for name in DIAGNOSIS if name in sizes] + sorted(
        set(sizes.index) - set(DIAGNOSIS)
    )
    return ", ".join(f"{name} {sizes[name]:,}" for name in order)


def _box(
    ax: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    lines: list[str],
    align: str = "center",
    strong: bool = False,
) -> None:
    ax.add_patch(Rectangle((x, y), width, height, facecolor="#F7F7F7", edgecolor=GREY, lw=0.7))
    at = x + width / 2 if align == "center" else x + PAD
    for index, line in enumerate(lines):
        ax.text(
            at,
            y + PAD + (index + 0.5) * LINE,
            line,
            ha=align,
            va="center",
            fontsize=6.5 if align == "left" else 7,
            fontweight="bold" if strong and index == 0 else "normal",
        )


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={
            "arrowstyle": "-|>",
            "lw": 0.8,
            "color": INK,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 7,
        },
    )
