"""Figure 3: original, autoencoder reconstruction and absolute error of several test scans."""

from typing import Any

import numpy as np

from ldae.figures import array_layouts, brain_slices
from ldae.figures.style import DIFFERENCE, Drawing
from ldae.labels import count, listing, number, subject

INPUTS = {"arrays": "volumes of test scans and their autoencoder reconstructions"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"
MOST = 3  # scans on one page


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Blocks of three planes, one block a scan; rows original, reconstruction, error."""
    data = array_layouts.load(inputs["arrays"], "reconstruction")
    scans = range(min(len(data["scan_id"]), MOST))
    original, decoded = data["original"][: len(scans)], data["reconstruction"][: len(scans)]
    error = np.abs(original - decoded)
    spacing = array_layouts.spacing(data, settings)

    window = brain_slices.Window.around(original)
    widths = [window.size(plane)[0] for plane in brain_slices.PLANES] * len(scans)
    height = max(window.size(plane)[1] for plane in brain_slices.PLANES)
    gaps = [0.6, 0.6, 3.0] * len(scans)
    page = brain_slices.Mosaic(
        widths, [height] * 3, spacing, gaps[: len(widths) - 1], top=11.0, left=9
    )
    low, high = brain_slices.intensity_limits(original)
    top = brain_slices.difference_limit(error)
    for scan in scans:
        for offset, plane in enumerate(brain_slices.PLANES):
            column = 3 * scan + offset
            for row, volume in enumerate((original[scan], decoded[scan])):
                page.show(row, column, window.slice(volume, plane), low, high)
            page.show(2, column, window.slice(error[scan], plane), 0, top, DIFFERENCE)
            page.sides(0, column, plane)
            page.column_label(column, plane.capitalize(), fontsize=6)
        diagnosis = str(data["diagnosis"][scan])
        page.bracket(3 * scan, 3)
        page.column_label(
            3 * scan, f"{subject(data['scan_id'][scan])} ({diagnosis})", 3, offset=5.2, fontsize=7
        )
        page.corner_letter(scan, 3 * scan)
        page.note(2, 3 * scan + 2, f"MAE {number(float(error[scan].mean()), 4)}")
    for row, label in enumerate(("Original", "Reconstruction", "|Error|")):
        page.row_label(row, label)
    page.scale_bar(0, 1)
    page.colour_bar(0, 2, low, high, brain_slices.BRAIN, "Intensity")
    page.colour_bar(2, 1, 0, top, DIFFERENCE, "|Error|")

    mae = error.reshape(len(scans), -1).mean(axis=1)
    body = (
        "Test scans that no stage was trained on: input, decoding of the posterior mean of its "
        "latent code, absolute error; one scale for all panels. MAE: mean absolute error over the "
        f"whole volume, of intensities from 0 to 1. {brain_slices.display_sentence(spacing)}"
    )
    shown = [
        f"{number(float(value), 4)} for {subject(scan)} ({diagnosis})"
        for value, scan, diagnosis in zip(mae, data["scan_id"], data["diagnosis"], strict=False)
    ]
    result = (
        f"The autoencoder reproduces {count(len(scans), 'unseen scan')} with a mean absolute error "
        f"of {listing(shown)}, of an intensity range of 0 to 1."
    )
    drawn = page.pictures | {
        "scan_id": data["scan_id"][: len(scans)],
        "mean_absolute_error": mae,
    }
    title = "Autoencoder reconstructions of unseen scans"
    return Drawing(page.figure, drawn, title, body, result)
