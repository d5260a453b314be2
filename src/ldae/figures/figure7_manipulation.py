"""Figure 7: an AD scan moved towards CN, and a CN scan moved towards AD."""

from typing import Any

import numpy as np

from ldae.figures import arrays, brains
from ldae.figures.style import DIFFERENCE
from ldae.figures.text import Drawing, number, subject

INPUTS = {"arrays": "two scans before and after manipulation"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"
ROWS = ("Original", "Manipulated", "|Δ original|", "|Δ α = 0|")


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Blocks of three planes, one a direction; rows original, manipulated, differences."""
    data = arrays.load(inputs["arrays"], "manipulation")
    original, manipulated = data["original"], data["manipulated"]
    difference = np.abs(manipulated - original)
    effect = np.abs(manipulated - data["reconstruction"])
    scans, alpha = len(original), float(data["alpha"])
    spacing = arrays.spacing(data, settings)

    window = brains.Window.around(original)
    widths = [window.size(plane)[0] for plane in brains.PLANES] * scans
    height = max(window.size(plane)[1] for plane in brains.PLANES)
    gaps = ([0.6, 0.6, 4.0] * scans)[: len(widths) - 1]
    page = brains.Mosaic(widths, [height] * 4, spacing, gaps, top=11, left=9, max_scale=0.22)
    low, high = brains.limits(original)
    top = brains.span(difference)
    for scan in range(scans):
        for offset, plane in enumerate(brains.PLANES):
            column = 3 * scan + offset
            for row, volume in enumerate((original[scan], manipulated[scan])):
                page.show(row, column, window.slice(volume, plane), low, high)
            for row, volume in ((2, difference[scan]), (3, effect[scan])):
                page.show(row, column, window.slice(volume, plane), 0, top, DIFFERENCE)
            page.sides(0, column, plane)
            page.column_label(column, plane.capitalize(), fontsize=6)
        page.bracket(3 * scan, 3)
        page.corner_letter(scan, 3 * scan)
        direction = f"{data['source'][scan]} → {data['target'][scan]}"
        page.column_label(
            3 * scan, f"{direction}, {subject(data['scan_id'][scan])}", 3, offset=5.2, fontsize=7
        )
        page.scale_bar(0, 3 * scan + 1)
    for row, label in enumerate(ROWS):
        page.row_label(row, label, fontsize=6.5)
    page.colour_bar(2, 2, 0, top, DIFFERENCE, "|Difference|")

    size = difference.reshape(scans, -1).mean(axis=1)
    net = effect.reshape(scans, -1).mean(axis=1)
    pairs = zip(data["source"], data["target"], size, net, strict=True)
    body = (
        f"Test scans decoded from their own z_T and y_sem moved by α = {alpha:g} along the weights "
        "of the AD–CN classifier. Third row: absolute difference to the original, which holds the "
        "error of reconstruction as well; fourth row: to the same scan decoded at α = 0, the "
        "change asked for alone; one scale. Mean absolute difference to the original and to α = 0: "
        + ", ".join(
            f"{number(float(s), 4)} and {number(float(n), 4)} ({a} → {b})" for a, b, s, n in pairs
        )
        + ". "
        + brains.how_shown(spacing)
    )
    drawn = page.pictures | {
        "scan_id": data["scan_id"],
        "mean_absolute_difference": size,
        "mean_absolute_effect": net,
    }
    return Drawing(page.figure, drawn, f"Semantic manipulation at α = {alpha:g}", body)
