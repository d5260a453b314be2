"""Page layout of manipulated scans: three planes of each scan, rows of images and of changes."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from ldae.figures import brain_slices
from ldae.labels import subject


class Scale(NamedTuple):
    """Colour scale of changes: its ends, colour map and the label of its bar (may be empty)."""

    low: float
    high: float
    cmap: Any
    label: str


def draw_scans(
    about: Mapping[str, Any],
    spacing: float,
    images: Mapping[str, np.ndarray],
    changes: Mapping[str, np.ndarray],
    scales: Sequence[Scale],
    max_scale: float,
) -> brain_slices.Mosaic:
    """Draw blocks of three planes, one a scan, and a row for each image and each change.

    Args:
        about: ``scan_id``, ``source`` and ``target`` (diagnoses) of the scans, each (N,).
        spacing: mm per voxel.
        images: Label and volumes (N, X, Y, Z) of the upper rows; the first are the originals.
        changes: Label and volumes (N, X, Y, Z) of the lower rows.
        scales: The colour scale of each of them; neighbours with equal ones share a colour bar.
        max_scale: Upper limit of mm on paper per mm of brain.
    """
    original = next(iter(images.values()))
    window = brain_slices.Window.around(original)
    widths = [window.size(plane)[0] for plane in brain_slices.PLANES] * len(original)
    height = max(window.size(plane)[1] for plane in brain_slices.PLANES)
    gaps = ([0.6, 0.6, 4.0] * len(original))[: len(widths) - 1]
    labels: Sequence[str] = [*images, *changes]
    page = brain_slices.Mosaic(
        widths,
        [height] * len(labels),
        spacing,
        gaps,
        top=11,
        left=11,
        right=16,
        max_scale=max_scale,
    )
    bright = brain_slices.intensity_limits(original)
    for scan in range(len(original)):
        for offset, plane in enumerate(brain_slices.PLANES):
            column = 3 * scan + offset
            for row, volumes in enumerate(images.values()):
                page.show(row, column, window.slice(volumes[scan], plane), *bright)
            rows = zip(changes.values(), scales, strict=True)
            for row, (volumes, scale) in enumerate(rows, start=len(images)):
                page.show(row, column, window.slice(volumes[scan], plane), *scale[:3])
            page.sides(0, column, plane)
            page.column_label(column, plane.capitalize(), fontsize=6)
        page.bracket(3 * scan, 3)
        page.corner_letter(scan, 3 * scan)
        direction = f"{about['source'][scan]} → {about['target'][scan]}"
        page.column_label(
            3 * scan, f"{direction}, {subject(about['scan_id'][scan])}", 3, offset=5.2, fontsize=7
        )
        page.scale_bar(0, 3 * scan + 1)
    for row, label in enumerate(labels):
        page.row_label(row, label, fontsize=6.5)
    first = len(images)
    for scale, group in groupby(scales):
        number = len(list(group))
        page.colour_bar(first, number, *scale)
        first += number
    return page
