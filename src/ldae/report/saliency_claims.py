"""Claims on saliency maps: they follow the known truth, and depend on the weights."""

import pandas as pd

from ldae.report.tables.table import row_of
from ldae.report.verdicts import Claim, Criterion, claim_of

LIKENESS = 0.5  # rank correlation with maps of random weights that a useful map stays below
METHODS = {"integrated_gradients": "Integrated gradients", "occlusion": "Occlusion maps"}


def saliency_claims(table: pd.DataFrame) -> list[Claim]:
    """Claims that the checks of the maps decide; those on the truth where it is known.

    Args:
        table: ``saliency_checks.tsv``.
    """
    found = []
    for method, label in METHODS.items():
        mine = table[table["method"] == method]
        truth = row_of(mine, measure="truth_correlation", level="trained", reference="all")
        found += claim_of(
            "saliency",
            "saliency_checks",
            f"{label} follow the true atrophy better than with random weights",
            "correlation of the maps' sizes with the true change of the voxels, as trained less "
            "with random weights",
            truth,
            Criterion(),
            "value",
            2,
        )
        found += claim_of(
            "saliency",
            "saliency_checks",
            f"{label} follow the true atrophy better than the scan's difference from its reference "
            "alone",
            "correlation with the true change of the voxels, the maps' sizes less those of the "
            "scan's difference from its reference, without any network",
            row_of(mine, measure="truth_correlation", level="trained", reference="image"),
            Criterion(),
            "value",
            2,
        )
        found += claim_of(
            "saliency",
            "saliency_checks",
            f"{label} depend on what was learnt",
            "rank correlation of the maps' sizes with those of random weights",
            row_of(mine, measure="likeness", level="all", reference=None),
            Criterion(LIKENESS, above=False),
            "value",
            2,
        )
    return found
