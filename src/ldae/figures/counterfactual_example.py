"""Manipulated scans beside their true counterfactuals (synthetic cohorts only)."""

from typing import Any

import numpy as np

from ldae.figures import array_layouts, brain_slices
from ldae.figures.manipulation_panels import Scale, draw_scans
from ldae.figures.style import SIGNED, Drawing
from ldae.labels import number

INPUTS = {"arrays": "two scans, manipulated and truly changed (counterfactual_examples.npz)"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Blocks of three planes, one a direction; rows of scans, then of signed changes."""
    data = array_layouts.load(inputs["arrays"], "counterfactual")
    original, truth, manipulated = (
        data[name] for name in ("original", "counterfactual", "manipulated")
    )
    shown, true = manipulated - data["reconstruction"], truth - original
    alpha, spacing = float(data["alpha"]), array_layouts.spacing(data, settings)
    top = brain_slices.difference_limit(true)
    page = draw_scans(
        data,
        spacing,
        {"Original": original, "Manipulated": manipulated, "Truth": truth},
        {"Change shown": shown, "True change": true},
        [Scale(-top, top, SIGNED, "Change")] * 2,
        max_scale=0.2,
    )

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
        + brain_slices.display_sentence(spacing)
    )
    drawn = page.pictures | {"scan_id": data["scan_id"], "correlation": agreement}
    return Drawing(page.figure, drawn, "Manipulated scans beside their true counterfactuals", body)
