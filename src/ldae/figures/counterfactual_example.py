"""Manipulated scans beside their true counterfactuals (synthetic cohorts only)."""

from typing import Any

import numpy as np

from ldae.figures import array_layouts, brain_slices
from ldae.figures.manipulation_panels import Scale, draw_scans
from ldae.figures.style import SIGNED, Drawing
from ldae.labels import listing, number

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
    near, far = (brain_slices.difference_limit(each) for each in (shown, true))
    page = draw_scans(
        data,
        spacing,
        {"Original": original, "Manipulated": manipulated, "Truth": truth},
        {"Change shown": shown, "True change": true},
        [Scale(-near, near, SIGNED, "Change shown"), Scale(-far, far, SIGNED, "True change")],
        max_scale=0.2,
    )

    inside = [(a[o > 0], b[o > 0]) for a, b, o in zip(shown, true, original, strict=True)]
    agreement = np.array([np.corrcoef(a, b)[0, 1] for a, b in inside])
    share = np.array([np.abs(a).mean() / np.abs(b).mean() for a, b in inside])
    body = (
        "Synthetic test scans: original; decoded from its z_T and y_sem moved by "
        f"α = {alpha:g} along the AD–CN classifier's weights; the same head made with the other "
        "diagnosis's atrophy. Changes: manipulated less decoded at α = 0, truth less original. Two "
        f"scales. {brain_slices.display_sentence(spacing)}"
    )
    pairs = zip(data["source"], data["target"], agreement, share, strict=True)
    found = [
        f"{number(float(r), 2)} ({a} → {b}; {100 * size:.0f} % of its size)"
        for a, b, r, size in pairs
    ]
    result = (
        f"Over the brain, the change shown at α = {alpha:g} correlates with the true one by "
        f"{listing(found)}."
    )
    drawn = page.pictures | {
        "scan_id": data["scan_id"],
        "correlation": agreement,
        "share_of_true_size": share,
    }
    title = "Manipulated scans beside their true counterfactuals"
    return Drawing(page.figure, drawn, title, body, result)
