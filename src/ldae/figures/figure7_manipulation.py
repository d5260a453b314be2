"""Figure 7: an AD scan moved towards CN, and a CN scan moved towards AD."""

from typing import Any

import numpy as np

from ldae.figures import array_layouts, brain_slices
from ldae.figures.manipulation_panels import Scale, draw_scans
from ldae.figures.style import DIFFERENCE, SIGNED, Drawing
from ldae.labels import number

INPUTS = {"arrays": "two scans before and after manipulation"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Blocks of three planes, one a direction; rows original, manipulated, differences."""
    data = array_layouts.load(inputs["arrays"], "manipulation")
    original, manipulated = data["original"], data["manipulated"]
    difference = np.abs(manipulated - original)
    effect = manipulated - data["reconstruction"]
    far, near = (brain_slices.difference_limit(each) for each in (difference, effect))
    scans, alpha = len(original), float(data["alpha"])
    spacing = array_layouts.spacing(data, settings)
    page = draw_scans(
        data,
        spacing,
        {"Original": original, "Manipulated": manipulated},
        {"|Δ original|": difference, "Δ α = 0": effect},
        [Scale(0, far, DIFFERENCE, "|Difference|"), Scale(-near, near, SIGNED, "")],
        max_scale=0.22,
    )

    size = difference.reshape(scans, -1).mean(axis=1)
    net = np.abs(effect).reshape(scans, -1).mean(axis=1)
    pairs = zip(data["source"], data["target"], size, net, strict=True)
    body = (
        f"Test scans decoded from their own z_T and y_sem moved by α = {alpha:g} along the weights "
        "of the AD–CN classifier. Third row: absolute difference to the original, which holds the "
        "error of reconstruction as well; fourth row: signed difference to the same scan decoded "
        "at α = 0, the change asked for alone, on a scale of its own. Mean absolute difference to "
        "the original and to α = 0: "
        + ", ".join(
            f"{number(float(s), 4)} and {number(float(n), 4)} ({a} → {b})" for a, b, s, n in pairs
        )
        + ". "
        + brain_slices.display_sentence(spacing)
    )
    drawn = page.pictures | {
        "scan_id": data["scan_id"],
        "mean_absolute_difference": size,
        "mean_absolute_effect": net,
    }
    return Drawing(page.figure, drawn, f"Semantic manipulation at α = {alpha:g}", body)
