"""Synthetic cohorts: two manipulated scans beside what they would truly look like."""

from typing import Any

import numpy as np

from ldae.figures import arrays, brains
from ldae.figures.style import SIGNED
from ldae.figures.text import Drawing, number, subject

INPUTS = {"arrays": "two scans, manipulated and truly changed (counterfactual_examples.npz)"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"
ROWS = ("Original", "Manipulated", "Truth", "Change shown", "True change")


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Blocks of three planes, one a direction; rows of scans, then of signed changes."""
    data = arrays.load(inputs["arrays"], "counterfactual")
    original, truth, manipulated = (
        data[name] for name in ("original", "counterfactual", "manipulated")
    )
    shown, true = manipulated - data["reconstruction"], truth - original
    scans, alpha = len(original), float(data["alpha"])
    spacing = arrays.spacing(data, settings)

    window = brains.Window.around(original)
    widths = [window.size(plane)[0] for plane in brains.PLANES] * scans
    height = max(window.size(plane)[1] for plane in brains.PLANES)
    gaps = ([0.6, 0.6, 4.0] * scans)[: len(widths) - 1]
    page = brains.Mosaic(widths, [height] * 5, spacing, gaps, top=11, left=9, max_scale=0.2)
    low, high = brains.limits(original)
    top = brains.span(true)
    for scan in range(scans):
        for offset, plane in enumerate(brains.PLANES):
            column = 3 * scan + offset
            for row, volume in enumerate((original[scan], manipulated[scan], truth[scan])):
                page.show(row, column, window.slice(volume, plane), low, high)
            for row, volume in ((3, shown[scan]), (4, true[scan])):
                page.show(row, column, window.slice(volume, plane), -top, top, SIGNED)
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
    page.colour_bar(3, 2, -top, top, SIGNED, "Change")

    agreement = np.array(
        [
            np.corrcoef(a[o > 0].ravel(), b[o > 0].ravel())[0, 1]
            for a, b, o in zip(shown, true, original, strict=True)
        ]
    )
    body = (
        "Test scans of a synthetic cohort (first row), decoded from their own z_T and y_sem moved "
        f"by α = {alpha:g} along the weights of the AD–CN classifier (second), and made again from "
        "the same head with the atrophy of the other diagnosis (third). Fourth row: manipulated "
        "less decoded at α = 0; fifth: truth less original; one scale. Correlation of the two over "
        "the brain: "
        + ", ".join(
            f"{number(float(r), 2)} ({a} → {b})"
            for r, a, b in zip(agreement, data["source"], data["target"], strict=True)
        )
        + ". "
        + brains.how_shown(spacing)
    )
    drawn = page.pictures | {"scan_id": data["scan_id"], "correlation": agreement}
    return Drawing(page.figure, drawn, "Manipulated scans beside their true counterfactuals", body)
