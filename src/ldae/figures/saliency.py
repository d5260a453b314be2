"""Saliency maps by class: what of an average scan the diagnosis is read from."""

from typing import Any

import numpy as np
import pandas as pd

from ldae.figures import array_layouts, brain_slices
from ldae.figures.style import DIFFERENCE, SIGNED, Drawing
from ldae.files import read_table
from ldae.labels import count, interval, listing
from ldae.systems import ATTRIBUTIONS

INPUTS = {
    "arrays": "class means of scans and maps (saliency.npz)",
    "regions": "attribution by region (saliency_regions.tsv)",
}
OPTIONAL: dict[str, str] = {}
DATA = "npz"
# Sets of regions, the ones that the result names first.
SETS = ("atlas", "region", "tissue")


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Blocks of three planes, one a class; rows: scan, both maps, the true change if known."""
    data = array_layouts.load(inputs["arrays"], "saliency")
    table = read_table(inputs["regions"], ("diagnosis", "method", "set", "region", "measure"))
    spacing = array_layouts.spacing(data, settings)
    classes = [str(name) for name in data["classes"]]
    rows = {"Mean scan": data["scan"]} | {label: data[name] for name, label in ATTRIBUTIONS.items()}
    if "change" in data:
        rows["True change"] = data["change"]
    page = _page(rows, spacing, classes, data["scans"])
    known = " Last row: size of the true change." if "change" in data else ""
    body = (
        f"Means over test scans, and of their maps: what each voxel (integrated gradients) or "
        f"cube (occlusion) adds to the {classes[0]} logit; red speaks for {classes[0]}.{known} "
        f"{brain_slices.display_sentence(spacing)}"
    )
    drawn = page.pictures | {"classes": data["classes"], "scans": data["scans"]}
    title = "What of a scan the diagnosis is read from"
    return Drawing(page.figure, drawn, title, body, _result(table, classes))


def _page(
    rows: dict[str, np.ndarray], spacing: float, classes: list[str], scans: np.ndarray
) -> brain_slices.Mosaic:
    """Three planes a class side by side, a row for the scans and for every map."""
    planes = brain_slices.PLANES
    window = brain_slices.Window.around(rows["Mean scan"])
    widths = [window.size(plane)[0] for plane in planes] * len(classes)
    height = max(window.size(plane)[1] for plane in planes)
    gaps = ([0.6] * (len(planes) - 1) + [4.0]) * len(classes)
    page = brain_slices.Mosaic(
        widths,
        [height] * len(rows),
        spacing,
        gaps[:-1],
        top=11,
        left=11,
        right=16,
        max_scale=0.2,
    )
    for row, (label, volumes) in enumerate(rows.items()):
        limits = _limits(label, volumes)
        for number in range(len(classes)):
            for offset, plane in enumerate(planes):
                column = len(planes) * number + offset
                picture = window.slice(volumes[number], plane)
                page.show(row, column, picture, *limits)
        page.row_label(row, label, fontsize=6.5)
        if row:
            what = "Change" if label == "True change" else "Part of the logit"
            page.colour_bar(row, 1, *limits, what)
    for number, name in enumerate(classes):
        first = len(planes) * number
        for offset, plane in enumerate(planes):
            page.sides(0, first + offset, plane)
            page.column_label(first + offset, plane.capitalize(), fontsize=6)
        page.bracket(first, len(planes))
        page.corner_letter(number, first)
        words = f"{name}, {count(int(scans[number]), 'scan')}"
        page.column_label(first, words, len(planes), offset=5.2, fontsize=7)
        page.scale_bar(0, first + 1)
    return page


def _limits(label: str, volumes: np.ndarray) -> tuple[float, float, Any]:
    """Ends and colour map of a row."""
    if label == "Mean scan":
        return (*brain_slices.intensity_limits(volumes), "gray")
    largest = brain_slices.difference_limit(volumes)
    if label == "True change":
        return 0.0, largest, DIFFERENCE
    return -largest, largest, SIGNED


def _result(table: pd.DataFrame, classes: list[str]) -> str:
    """Where the maps of each class are densest, by method."""
    mine = table[table["measure"] == "concentration"].dropna(subset="value")
    mine = mine[mine["set"] == next(one for one in SETS if one in set(mine["set"]))]
    found = []
    for name in classes:
        words = []
        for method, label in ATTRIBUTIONS.items():
            part = mine[(mine["diagnosis"] == name) & (mine["method"] == method)]
            top = part.loc[part["value"].idxmax()]
            times = interval(top["value"], top["ci_low"], top["ci_high"], 2)
            words.append(f"{top['region']} by {label.lower()} ({times} times)")
        found.append(f"for {name} in {listing(words)}")
    return f"Per volume, against the brain's mean, attribution is largest {'; '.join(found)}."
