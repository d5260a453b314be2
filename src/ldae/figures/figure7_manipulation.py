"""Figure 7: an AD scan moved towards CN, and a CN scan moved towards AD."""

from typing import Any

import numpy as np

from ldae.figures import array_layouts, brain_slices
from ldae.figures.manipulation_panels import Scale, draw_scans
from ldae.figures.style import SIGNED, Drawing
from ldae.labels import listing, number

INPUTS = {"arrays": "two scans before and after manipulation"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Blocks of three planes, one a direction; rows original, manipulated, signed differences."""
    data = array_layouts.load(inputs["arrays"], "manipulation")
    original, manipulated = data["original"], data["manipulated"]
    difference, effect = manipulated - original, manipulated - data["reconstruction"]
    far, near = (brain_slices.difference_limit(each) for each in (difference, effect))
    scans, alpha = len(original), float(data["alpha"])
    spacing = array_layouts.spacing(data, settings)
    page = draw_scans(
        data,
        spacing,
        {"Original": original, "Manipulated": manipulated},
        {"Manipulated\n− original": difference, "Manipulated\n− α = 0": effect},
        [Scale(-far, far, SIGNED, "Difference"), Scale(-near, near, SIGNED, "Change")],
        max_scale=0.22,
    )

    size, net = (np.abs(each).reshape(scans, -1).mean(axis=1) for each in (difference, effect))
    pairs = list(zip(data["source"], data["target"], size, net, strict=True))
    body = (
        f"Test scans decoded from their own z_T and from y_sem moved by α = {alpha:g} along the "
        "AD–CN classifier's weights. Third row: less the original, error of reconstruction "
        "included; fourth: less the decoding at α = 0, the change asked for. Two scales. "
        f"{brain_slices.display_sentence(spacing)}"
    )
    result = (
        f"Manipulation at α = {alpha:g} changes the decoded scan by a mean absolute "
        + listing([f"{number(float(n), 4)} ({a} → {b})" for a, b, _, n in pairs])
        + "; its difference to the original, reconstruction error included, is "
        + listing([f"{number(float(s), 4)} ({a} → {b})" for a, b, s, _ in pairs])
        + "."
    )
    drawn = page.pictures | {
        "scan_id": data["scan_id"],
        "mean_absolute_difference": size,
        "mean_absolute_effect": net,
    }
    title = f"Semantic manipulation at α = {alpha:g}"
    return Drawing(page.figure, drawn, title, body, result)
