"""Figure 9: one subject's visits, predicted from the first and the last by every method."""

from typing import Any

import numpy as np

from ldae import systems
from ldae.figures import array_layouts, brain_slices
from ldae.figures.style import SIGNED, Drawing
from ldae.labels import listing, number

INPUTS = {"arrays": "a subject's visits, real, decoded and predicted by every method"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"
MOST = 5  # visits on one page
PLANES = ("axial", "coronal")
# Array of the visits, and its label; the first three hold the known visits as well.
COLUMNS = {
    "original": "Original",
    "autoencoder": "Reconstruction",
    "interpolated": systems.system("ldae").label,
    "nearest_visit": systems.system("nearest_visit").label,
    "voxel_average": systems.system("voxel_average").label,
    "latent_lerp": systems.system("latent_lerp").label,
}
OF_KNOWN = tuple(COLUMNS)[:3]  # baselines repeat the reconstruction there
CHANGES = tuple(COLUMNS)[1:]  # an original's change is mostly noise


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """A block a plane with a column a method; rows: each visit, and below it the change."""
    data = array_layouts.load(inputs["arrays"], "interpolation")
    chosen = brain_slices.evenly_spaced(len(data["months"]), MOST)
    months, factor = data["months"][chosen], data["factor"][chosen]
    volumes = {name: data[name][chosen] for name in COLUMNS}
    changes = {name: volumes[name] - volumes[name][:1] for name in CHANGES}
    between = [i for i, value in enumerate(factor) if 0 < value < 1]
    spacing = array_layouts.spacing(data, settings)

    window = brain_slices.Window.around(volumes["original"])
    sizes = [window.size(plane) for plane in PLANES]
    widths = [width for width, _ in sizes for _ in COLUMNS]
    gaps = ([0.5] * (len(COLUMNS) - 1) + [3.0]) * len(PLANES)
    heights = [max(height for _, height in sizes)] * (2 * len(months) - 1)
    row_gaps = [2.0 if row % 2 == 0 else 0.5 for row in range(len(heights) - 1)]
    page = brain_slices.Mosaic(
        widths, heights, spacing, gaps[:-1], row_gaps, left=10, right=15, top=9, max_scale=0.15
    )
    low, high = brain_slices.intensity_limits(volumes["original"])
    top = brain_slices.difference_limit(np.stack(list(changes.values())))
    for block, plane in enumerate(PLANES):
        first = block * len(COLUMNS)
        for visit in range(len(months)):
            row = max(2 * visit - 1, 0)
            names = COLUMNS if visit in between else OF_KNOWN
            for offset, name in enumerate(names):
                picture = window.slice(volumes[name][visit], plane)
                page.show(row, first + offset, picture, low, high)
                if visit and name in changes:
                    moved = window.slice(changes[name][visit], plane)
                    page.show(row + 1, first + offset, moved, -top, top, SIGNED)
        page.sides(0, first, plane)
        page.bracket(first, len(COLUMNS))
        page.corner_letter(block, first)
        page.column_label(first, plane.capitalize(), len(COLUMNS), offset=5.2, fontsize=7)
        for offset, label in enumerate(COLUMNS.values()):
            page.column_label(first + offset, label, fontsize=5.2)
    page.scale_bar(0, len(COLUMNS))
    for visit, month in enumerate(months):
        row = max(2 * visit - 1, 0)
        role = "predicted" if visit in between else "known"
        page.row_label(row, f"Month {month:g}\n{role}", fontsize=6)
        if visit:
            page.row_label(row + 1, "Change", fontsize=6)
    page.colour_bar(2, 1, -top, top, SIGNED, f"From month {months[0]:g}")

    errors = {
        name: np.mean((volumes[name] - volumes["autoencoder"]) ** 2, axis=(1, 2, 3))
        for name in CHANGES[1:]
    }
    body = (
        "A test subject's visits predicted from the first and the last, which are decoded from "
        "their own codes: by the LDAE (y_sem linearly, z_T spherically interpolated) and by "
        "baselines. Reconstruction: the autoencoder's of the real visit, which predictions are "
        f"measured against. {brain_slices.display_sentence(spacing)}"
    )
    drawn = page.pictures | {"months": months, "factor": factor}
    drawn |= {f"{name}_mse_to_ae": error for name, error in errors.items()}
    title = "Visits interpolated between the first and the last"
    result = _result(str(data["participant_id"]), months, errors, between)
    return Drawing(page.figure, drawn, title, body, result)


def _result(
    participant: str, months: np.ndarray, errors: dict[str, np.ndarray], between: list[int]
) -> str:
    """Errors of every method at the predicted visits."""
    if not between:
        return f"{participant} has no visit between the first and the last."
    means = [
        f"{number(float(error[between].mean()), 5)} by {systems.phrase(_system(name))}"
        for name, error in errors.items()
    ]
    visits = listing([f"{months[i]:g}" for i in between])
    return (
        f"{participant}, {'month' if len(between) == 1 else 'months'} {visits}: mean squared error "
        f"to the reconstruction of the real {'visit' if len(between) == 1 else 'visits'} "
        f"{listing(means)}."
    )


def _system(array: str) -> str:
    """Key of the system that an array is predicted by."""
    return "ldae" if array == "interpolated" else array
