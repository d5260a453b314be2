"""Tables and class means of saliency maps."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation.saliency import tables as saliency
from ldae.files import save_arrays, write_table

RESAMPLES = 20
CLASSES = ("AD", "CN")
METHODS = ("integrated_gradients", "occlusion")
LEVELS = {
    "trained": 0.5,
    "image": 0.25,
    "probe": 0.3,
    "attention": 0.2,
    "backbone 1": 0.1,
    "all": 0.05,
}


def make_saliency_tables(tables: Path, evaluation: Path, brain: Callable, spacing: float) -> None:
    """Write all of them; ``brain(seed, ventricle)`` returns a volume (X, Y, Z)."""
    draw = np.random.default_rng(6)
    scans = pd.DataFrame(
        [
            {
                "scan_id": f"sub-{n}_ses-M000",
                "participant_id": f"sub-{n}",
                "diagnosis": CLASSES[n % 2],
            }
            for n in range(8)
        ]
    )
    checks, totals = [], []
    for about, method in product(scans.to_dict("records"), METHODS):
        for level, value in LEVELS.items():
            if method == "occlusion" and level not in ("trained", "image", "all"):
                continue
            key = about | {"method": method, "level": level, "draw": 0}
            found = {"truth_correlation": value, "pointing": float(level == "trained")}
            found |= {} if level == "trained" else {"likeness": value / 2}
            for name, one in found.items():
                checks.append(key | {"measure": name, "value": one + draw.normal(0, 0.01)})
        for kind, region, size in (
            ("tissue", "grey", 3.0),
            ("tissue", "white", 1.0),
            ("tissue", "fluid", 6.0),
            ("region", "ventricles", 5.0),
            ("region", "hippocampus", 1.0),
        ):
            values = {"size": size + draw.normal(0, 0.1), "part": 0.1 * size, "voxels": 25.0}
            key = about | {"method": method, "set": kind, "region": region}
            totals.append(key | values | {"whole": 10.0, "whole_voxels": 100})
    write_table(
        saliency.check_table(pd.DataFrame(checks), RESAMPLES, 0), tables / "saliency_checks.tsv"
    )
    write_table(
        saliency.region_table(pd.DataFrame(totals), RESAMPLES, 0), tables / "saliency_regions.tsv"
    )
    mm = np.linspace(-60, 60, 14)
    weights = np.exp(-(mm**2) / 2000) * np.exp(draw.normal(0, 0.05, (len(scans), 14)))
    weights /= weights.sum(axis=1, keepdims=True)
    given = {"summary": weights[:, ::-1], "heads": weights}
    table = saliency.attention_table(scans, given, mm, RESAMPLES, 0)
    write_table(table, tables / "slice_attention.tsv")
    volumes = np.stack([brain(1, 0.4), brain(0, 0.25)]).astype(np.float32)
    save_arrays(
        evaluation / "saliency.npz",
        classes=list(CLASSES),
        spacing=spacing,
        scan=volumes,
        scans=[4, 4],
        integrated_gradients=volumes * draw.normal(0, 0.01, volumes.shape),
        occlusion=volumes * draw.normal(0, 0.01, volumes.shape),
        change=np.abs(volumes[0] - volumes[1])[None].repeat(2, 0),
    )
