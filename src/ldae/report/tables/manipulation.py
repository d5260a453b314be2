"""Tables of manipulated scans: changes by strength, trends, and the true counterfactual."""

import pandas as pd

from ldae.labels import ABSENT
from ldae.report.tables.table import Table, cell
from ldae.systems import metric

VARIANTS = {
    "plain": "AD direction",
    "orthogonal": "AD direction, age kept",
    "random": "random, as far",
    "none": "nothing done",
}
SHOWN = (
    "change_ventricle_ml",
    "change_hippocampus_ml",
    "change_logit_asked",
    "change_logit_decoded",
    "change_age_decoded",
    "sex_kept",
    "ssim_elsewhere",
)
MEASURES = {
    "ventricle_ml": "Ventricles' region",
    "hippocampus_ml": "Hippocampi's region",
    "logit_decoded": "AD logit of decoded image",
}
STATISTICS = {
    "spearman": "Rank correlation with α",
    "monotone": "Scans monotone in α",
    "known_sign": "Scans changed the known way",
}
JUDGED = {
    ("brain", "mse_to_ae"): "MSE, brain",
    ("brain", "ssim_to_ae"): "SSIM, brain",
    ("brain", "change_correlation"): "Correlation of changes, brain",
    ("ventricles", "change_correlation"): "Correlation of changes, ventricles",
    ("hippocampus", "change_correlation"): "Correlation of changes, hippocampi",
}


def _arrow(direction: str) -> str:
    return direction.replace(" to ", " → ")


def _variant(name: str) -> str:
    return VARIANTS.get(name, name.replace("_", " "))


def _size(table: pd.DataFrame) -> str:
    size = table.iloc[0]
    return (
        f"{int(size['n_scans']):,} scans of {int(size['n_subjects']):,} test subjects in the first "
        "direction."
    )


def manipulation(table: pd.DataFrame) -> Table:
    """Changes by direction, variant and strength α, from ``manipulation.tsv``."""
    present = [name for name in SHOWN if name in set(table["metric"])]
    rows = []
    moved = table[table["alpha"] != 0]
    for (direction, variant, alpha), part in moved.groupby(
        ["direction", "way", "alpha"], sort=False
    ):
        found = part.set_index("metric")
        cells = [cell(found.loc[name], name=name) for name in present]
        rows.append([_arrow(direction), _variant(variant), f"{alpha:g}", *cells])
    return Table(
        "Manipulation: what changes and what stays",
        ["Direction", "Moved along", "α", *(metric(name).label for name in present)],
        rows,
        f"{_size(table)} Changes from α = 0, of fluid in the template's ventricles, of grey matter "
        "in its hippocampi (regions, so proxies of volumes), of the AD logit as asked of y_sem and "
        "as found in the decoded image, and of the age found there. Last: the share of scans whose "
        "sex probe says the same, and SSIM to α = 0 in the brain away from both regions.",
    )


def trends(table: pd.DataFrame) -> Table:
    """Trends of single scans with the strength α, from ``manipulation_trends.tsv``."""
    rows = []
    for key, part in table.groupby(["direction", "way", "measure"], sort=False):
        found = part.set_index("statistic")
        cells = [cell(found.loc[name]) if name in found.index else ABSENT for name in STATISTICS]
        rows.append([_arrow(key[0]), _variant(key[1]), MEASURES.get(key[2], key[2]), *cells])
    return Table(
        "Manipulation scan by scan",
        ["Direction", "Moved along", "Measure", *STATISTICS.values()],
        rows,
        f"{_size(table)} In the sense that is known of the disease: 1 where every scan changes "
        "that way.",
    )


def counterfactual(table: pd.DataFrame) -> Table:
    """Similarity of every method to the true counterfactual, from ``counterfactual.tsv``."""
    rows = []
    for (direction, method, alpha), part in table.groupby(
        ["direction", "method", "alpha"], sort=False, dropna=False
    ):
        found = {(row["region"], row["metric"]): row for _, row in part.iterrows()}
        strength = ABSENT if pd.isna(alpha) else f"{alpha:g}"
        cells = [cell(found[key], name=key[1]) if key in found else ABSENT for key in JUDGED]
        rows.append([_arrow(direction), _variant(method), strength, *cells])
    return Table(
        "Manipulated scans against the true counterfactual",
        ["Direction", "Moved along", "α", *JUDGED.values()],
        rows,
        f"{_size(table)} The truth is the same head with the other atrophy, after the autoencoder. "
        "Correlation over voxels of the change shown with the true one.",
    )


def counterfactual_differences(table: pd.DataFrame) -> Table:
    """Paired differences in the brain with the unchanged scan and with a random direction.

    Args:
        table: ``counterfactual_differences.tsv``.
    """
    rows = [
        [
            _arrow(one["direction"]),
            _variant(one["method"]),
            f"{one['alpha']:g}",
            _variant(one["reference"]),
            JUDGED[one["region"], one["metric"]],
            cell(one, "difference", one["metric"]),
            f"{int(one['n_better']):,} of {int(one['n_scans']):,}",
        ]
        for _, one in table.iterrows()
        if (one["region"], one["metric"]) in JUDGED and one["region"] == "brain"
    ]
    return Table(
        "Against the true counterfactual: paired differences",
        ["Direction", "Moved along", "α", "Less", "Measure", "Difference", "Nearer"],
        rows,
        "Below zero is better for MSE, above for the others.",
    )
