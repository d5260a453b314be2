"""Section of the proof's page: the LDAE beside the one with the paper's encoder of slices."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap
from ldae.files import read_table
from ldae.labels import interval
from ldae.report.proof_thresholds import RECONSTRUCTIONS, numbers_of
from ldae.report.tables.table import markdown_table, row_of

OTHER = "ldae_slices"
RESAMPLES = 1000
KEY = ("system", "variant", "T", "scan_id")
PROBE = {"probe": "regularised"}
# Label; table, row and column of a paired difference; decimals.
READ = (
    ("AD/CN: AUROC", "probes_differences", {**PROBE, "target": "diagnosis", "metric": "auroc"}, 3),
    ("age: MAE, years", "probes_differences", {**PROBE, "target": "age", "metric": "mae"}, 2),
    ("true atrophy: r", "truth", {"prediction": "atrophy_probe", "truth": "atrophy"}, 3),
)
DECODED = {  # variant: label
    "y_sem": "decoded from y_sem alone: SSIM",
    "encoded": "decoded from y_sem and inverted noise: SSIM",
}


def encoder_section(
    folders: Mapping[int, Path], tables: Mapping[int, Mapping[str, pd.DataFrame]]
) -> str:
    """Paired differences on test scans, LDAE less the LDAE with slices, by seed.

    Args:
        folders: Results of the run of each seed.
        tables: Tables of the runs by name.

    Returns:
        Markdown; empty where the runs have no such LDAE.
    """
    if not all(OTHER in set(one["probes"]["system"]) for one in tables.values()):
        return ""
    seeds = list(folders)
    rows = []
    for label, table, where, digits in READ:
        found = [
            row_of(tables[seed][table], system="ldae", reference=OTHER, **where) for seed in seeds
        ]
        column = "r" if table == "truth" else "difference"
        rows.append([label, *(interval(*numbers_of(row, column), digits) for row in found)])
    for variant, label in DECODED.items():
        rows.append([label, *(_ssim(folders[seed], variant, seed) for seed in seeds)])
    heads = ["components less slices", *(f"seed {seed}" for seed in seeds)]
    return (
        "## The encoder beside the paper's\n\n"
        "The LDAE less the same LDAE with the paper's encoder of slices (`baselines: "
        "[ldae_slices, ...]`), on the same autoencoder, LDM and people: paired differences on test "
        f"scans.\n\n{markdown_table(heads, rows)}"
    )


def _ssim(folder: Path, variant: str, seed: int) -> str:
    """Difference of SSIM at the largest T that both have."""
    both = []
    for name in ("ldae", OTHER):
        scans = read_table(folder / RECONSTRUCTIONS[name], (*KEY, "participant_id", "ssim"))
        mine = (scans["system"] == name) & (scans["variant"] == variant)
        both.append(scans[mine].set_index(["T", "scan_id"]))
    paired = both[0].join(both[1]["ssim"], rsuffix="_other", how="inner").reset_index()
    paired = paired[paired["T"] == paired["T"].max()]
    gap = np.asarray(paired["ssim"] - paired["ssim_other"], dtype=float)
    found = ClusterBootstrap(paired["participant_id"], RESAMPLES, seed).mean(gap)
    return interval(found.estimate, found.low, found.high)
