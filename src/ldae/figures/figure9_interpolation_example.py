"""Figure 9: one subject's visits and those predicted from the first and the last."""

from typing import Any

import numpy as np

from ldae.figures import array_layouts, brain_slices
from ldae.figures.style import DIFFERENCE, Drawing
from ldae.labels import listing, number

INPUTS = {"arrays": "a subject's visits, real and interpolated"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"
MOST = 5  # visits on one page
PLANES = ("axial", "coronal")


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Blocks of two planes, one a visit; rows original, interpolated, absolute error."""
    data = array_layouts.load(inputs["arrays"], "interpolation")
    chosen = brain_slices.evenly_spaced(len(data["months"]), MOST)
    months, factor = data["months"][chosen], data["factor"][chosen]
    original, interpolated = data["original"][chosen], data["interpolated"][chosen]
    error = np.abs(original - interpolated)
    spacing = array_layouts.spacing(data, settings)

    window = brain_slices.Window.around(original)
    widths = [window.size(plane)[0] for plane in PLANES] * len(months)
    height = max(window.size(plane)[1] for plane in PLANES)
    gaps = ([0.6, 3.0] * len(months))[: len(widths) - 1]
    page = brain_slices.Mosaic(widths, [height] * 3, spacing, gaps, top=10, left=9)
    low, high = brain_slices.intensity_limits(original)
    top = brain_slices.difference_limit(error)
    for index, month in enumerate(months):
        for offset, plane in enumerate(PLANES):
            column = len(PLANES) * index + offset
            for row, volume in enumerate((original[index], interpolated[index])):
                page.show(row, column, window.slice(volume, plane), low, high)
            page.show(2, column, window.slice(error[index], plane), 0, top, DIFFERENCE)
            page.sides(0, column, plane)
        first = len(PLANES) * index
        page.bracket(first, len(PLANES), offset=1.0)
        page.column_label(first, f"Month {month:g}", len(PLANES), offset=4.8, fontsize=7.5)
        role = "endpoint" if factor[index] in (0, 1) else "predicted"
        page.column_label(
            first, rf"{role}, $\alpha$ = {factor[index]:.2g}", len(PLANES), offset=1.4, fontsize=6
        )
    page.scale_bar(0, 1)
    for row, label in enumerate(("Original", "Decoded", "|Error|")):
        page.row_label(row, label)
    page.colour_bar(2, 1, 0, top, DIFFERENCE, "|Error|")

    size = error.reshape(len(months), -1).mean(axis=1)
    between = [i for i, value in enumerate(factor) if 0 < value < 1]
    body = (
        f"{data['participant_id']}, a subject of the test split. The visits at months "
        f"{months[0]:g} and {months[-1]:g} are decoded from their own codes (α = 0 and 1); those "
        f"at {'month ' if len(between) == 1 else 'months '}"
        f"{listing([f'{months[i]:g}' for i in between]) if between else '(none)'} are predicted "
        "from the two, y_sem linearly and z_T spherically interpolated. Bottom: absolute error to "
        "the real visit, one scale. Mean absolute error: "
        + ", ".join(
            f"{number(float(s), 4)} at month {m:g}" for m, s in zip(months, size, strict=True)
        )
        + ". "
        + brain_slices.display_sentence(spacing)
    )
    drawn = page.pictures | {
        "months": months,
        "factor": factor,
        "mean_absolute_error": size,
    }
    return Drawing(page.figure, drawn, "Visits interpolated between the first and the last", body)
