"""Figure 6: one scan moved along the classifier's direction in steps of growing strength."""

from typing import Any

import numpy as np

from ldae.figures import array_layouts, brain_slices
from ldae.figures.style import SIGNED, Drawing
from ldae.labels import number, subject

INPUTS = {"arrays": "one scan decoded at growing strengths of manipulation"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Rows: each plane and, below it, its signed difference to alpha = 0; columns: alpha."""
    data = array_layouts.load(inputs["arrays"], "progression")
    original, alphas, volumes = data["original"], data["alphas"], data["volumes"]
    base = int(np.argmin(np.abs(alphas)))
    change = volumes - volumes[base]
    spacing = array_layouts.spacing(data, settings)

    window = brain_slices.Window.around(original)
    width = max(window.size(plane)[0] for plane in brain_slices.PLANES)
    heights = [window.size(plane)[1] for plane in brain_slices.PLANES for _ in range(2)]
    page = brain_slices.Mosaic(
        [width] * (1 + len(alphas)),
        heights,
        spacing,
        [2.5] + [0.6] * (len(alphas) - 1),
        [0.4, 2.0, 0.4, 2.0, 0.4],
        left=11,
        right=16,
        top=6,
        max_scale=0.18,
    )
    low, high = brain_slices.intensity_limits(np.concatenate([original[None], volumes]))
    top = brain_slices.difference_limit(change)
    for index, plane in enumerate(brain_slices.PLANES):
        row = 2 * index
        page.show(row, 0, window.slice(original, plane), low, high)
        page.sides(row, 0, plane)
        page.row_label(row, plane.capitalize(), fontsize=7)
        page.row_label(row + 1, "Change", fontsize=6)
        page.corner_letter(index, 0, row, offset=0.6 if index else 1.0)
        for column, volume in enumerate(volumes, start=1):
            page.show(row, column, window.slice(volume, plane), low, high)
            if column - 1 != base:
                moved = window.slice(change[column - 1], plane)
                page.show(row + 1, column, moved, -top, top, SIGNED)
    page.scale_bar(2, 0)
    page.column_label(0, "Original")
    for column, alpha in enumerate(alphas, start=1):
        page.column_label(column, rf"$\alpha$ = {alpha:g}")
    page.colour_bar(1, 1, -top, top, SIGNED, rf"Change from $\alpha$ = {alphas[base]:g}")

    size = np.abs(change).reshape(len(alphas), -1).mean(axis=1)
    rising = bool(np.all(np.diff(size[np.argsort(np.abs(alphas - alphas[base]))]) >= 0))
    body = (
        f"A test scan moved from {data['source']} towards {data['target']}: z_T is kept, y_sem "
        "moves by α along the weights of the AD–CN classifier. Below each plane: signed change "
        f"from α = {alphas[base]:g}, one scale, white is none. "
        + brain_slices.display_sentence(spacing)
    )
    ends = [int(np.argsort(alphas)[place]) for place in (1, -1)] if len(alphas) > 1 else [base]
    title = f"Progressive manipulation of a scan: {data['source']} towards {data['target']}"
    result = (
        f"Moving {subject(str(data['scan_id']))} from {data['source']} towards {data['target']} "
        "changes the image by a mean absolute "
        + " and ".join(f"{number(float(size[i]), 4)} at α = {alphas[i]:g}" for i in ends)
        + f"; the change {'grows' if rising else 'does not grow'} with every step."
    )
    drawn = page.pictures | {
        "scan_id": data["scan_id"],
        "alphas": alphas,
        "mean_absolute_change": size,
    }
    return Drawing(page.figure, drawn, title, body, result)
