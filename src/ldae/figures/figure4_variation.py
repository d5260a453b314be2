"""Figure 4: reconstructions with one y_sem and several z_T, for one CN and one AD scan.

A sample that failed is marked as such: it is farther from its scan than a brain of one grey value.
"""

from typing import Any

import numpy as np

from ldae.figures import array_layouts, brain_slices
from ldae.figures.style import DIFFERENCE, Drawing
from ldae.labels import count, listing, number, subject

INPUTS = {"arrays": "originals, encoded reconstructions and stochastic samples of two scans"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """One block of three planes a scan; columns original, encoded, samples, and their SD."""
    data = array_layouts.load(inputs["arrays"], "variation")
    original, encoded, samples = data["original"], data["encoded"], data["samples"]
    scans, drawn = samples.shape[:2]
    deviation = samples.std(axis=1)  # (N,X,Y,Z)
    spacing = array_layouts.spacing(data, settings)

    window = brain_slices.Window.around(original)
    width = max(window.size(plane)[0] for plane in brain_slices.PLANES)
    heights = [window.size(plane)[1] for plane in brain_slices.PLANES] * scans
    gaps = ([0.6, 0.6, 5.0] * scans)[: len(heights) - 1]
    columns = 2 + drawn + (drawn > 1)
    across = [0.6, 2.5, *[0.6] * (drawn - 1)] + ([2.5] if drawn > 1 else [])
    page = brain_slices.Mosaic(
        [width] * columns, heights, spacing, across, gaps, left=13, top=9, max_scale=0.18
    )
    low, high = brain_slices.intensity_limits(original)
    top = brain_slices.difference_limit(deviation)
    errors = np.stack(
        [squared_error(each, original) for each in (encoded, *samples.swapaxes(0, 1))], axis=1
    )  # (N, 1 + K)
    failed = errors[:, 1:] > squared_error(flat_brains(original), original)[:, None]
    for scan in range(scans):
        volumes = [original[scan], encoded[scan], *samples[scan]]
        for offset, plane in enumerate(brain_slices.PLANES):
            row = 3 * scan + offset
            for column, volume in enumerate(volumes):
                page.show(row, column, window.slice(volume, plane), low, high)
                if column > 0 and plane == "sagittal":
                    page.note(row, column, f"MSE {number(float(errors[scan, column - 1]), 4)}")
                if column > 1 and failed[scan, column - 2]:
                    page.frame(row, column, "failed" if plane == "axial" else "")
            if drawn > 1:
                page.show(
                    row, columns - 1, window.slice(deviation[scan], plane), 0, top, DIFFERENCE
                )
            page.sides(row, 0, plane)
            page.row_label(row, plane.capitalize(), fontsize=6)
        name = f"{subject(data['scan_id'][scan])} ({data['diagnosis'][scan]})"
        page.row_label(3 * scan, name, 3, offset=6.0, fontsize=7.5)
        page.corner_letter(scan, 0, 3 * scan, offset=0.8 if scan else 1.0)
        page.scale_bar(3 * scan + 1, 0)
    labels = ["Original", "Encoded $z_T$", *(f"Sample {i + 1}" for i in range(drawn))]
    for column, label in enumerate([*labels, "SD of samples"][:columns]):
        page.column_label(column, label)
    page.bracket(2, drawn, offset=4.6)
    page.column_label(
        2,
        r"same $y_\mathrm{sem}$, new $z_T \sim \mathcal{N}(0, I)$",
        drawn,
        offset=5.0,
        fontsize=6.5,
    )
    if drawn > 1:
        page.colour_bar(0, 3, 0, top, DIFFERENCE, "SD over samples")

    body = (
        f"Original; reconstruction from y_sem and the z_T of DDIM inversion; "
        f"{count(drawn, 'reconstruction')} from the same y_sem and new z_T"
        f"{', and their standard deviation' if drawn > 1 else ''}. MSE: mean squared error to the "
        "original. Framed: farther than a brain of one grey value. "
        + brain_slices.display_sentence(spacing)
    )
    drawn_data = page.pictures | {
        "scan_id": data["scan_id"],
        "encoded_mse": errors[:, 0],
        "sample_mse": errors[:, 1:],
        "failed": failed,
    }
    title = "Reconstruction from the semantic code and a stochastic code"
    result = _result(data["diagnosis"], errors, failed)
    return Drawing(page.figure, drawn_data, title, body, result)


def squared_error(volumes: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """Mean squared error (N,) over the whole volumes (N, X, Y, Z)."""
    return ((volumes - originals) ** 2).reshape(len(originals), -1).mean(axis=1)


def flat_brains(originals: np.ndarray) -> np.ndarray:
    """Volumes (N, X, Y, Z) whose brains have one grey value each, the mean of theirs."""
    inside = originals > 0.05 * originals.max(axis=(1, 2, 3), keepdims=True)
    size = np.maximum(inside.sum(axis=(1, 2, 3), keepdims=True), 1)
    return inside * ((originals * inside).sum(axis=(1, 2, 3), keepdims=True) / size)


def _result(diagnosis: np.ndarray, errors: np.ndarray, failed: np.ndarray) -> str:
    """Errors of both ways by scan, and the number of samples that failed."""
    means = [
        f"{number(float(own[0]), 4)} with the encoded z_T and {number(float(own[1:].mean()), 4)} "
        f"with a new one ({name} scan)"
        for name, own in zip(diagnosis, errors, strict=True)
    ]
    text = f"Mean squared error to the original: {listing(means)}. "
    if failed.any():
        return f"{text}{failed.sum()} of {count(failed.size, 'sample')} failed (framed)."
    return f"{text}None of the {count(failed.size, 'sample')} failed."
