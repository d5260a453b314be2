"""Planted scanner: a shift of known size in the codes of a cohort's own people, by their site.

The scans cannot be made again for every site that one would like to plant, so the effect is put
into the codes. Its size is in SDs of the code along the direction of the shift, and so says what
the best linear reader can tell. At the even site a coin decides; at the skewed one the diagnosis
has a part, so that the site tells it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from ldae.evaluation.probes.features import TRAINING, ProbeData
from ldae.evaluation.probes.labels import labels_of
from ldae.evaluation.probes.target_table import Target
from ldae.evaluation.scanner.combat import is_estimable
from ldae.evaluation.scanner.confounding import TABLE, confounding_rows, flagged, label_classes
from ldae.evaluation.scanner.evaluate import (
    INSEPARABLE,
    METRIC,
    cost_of,
    covariates_of,
    harmonised,
    told_groups,
)
from ldae.ground_truth.planted_relations import (
    ELSE,
    EVEN,
    SITES,
    SIZES,
    SKEWED,
    SKEWED_SIZE,
)
from ldae.seeds import derive_seed

HELD = 0.9  # share of the code's variance in the components that are shifted
CHANCE = 1 / len(SITES)
Rows = Iterator[dict[str, object]]


@dataclass(frozen=True)
class Shift:
    """A direction of codes, drawn at random, and where codes lie along it.

    It is drawn among the leading principal components of the standardised training codes, each at
    its own SD, so that the distance (Mahalanobis) of two sites a step apart is one.

    Attributes:
        step: (d,) a move of one SD along the direction.
        place: (N,) of each code along the best linear reading of such a move, SD 1.
    """

    step: np.ndarray
    place: np.ndarray

    @classmethod
    def draw(cls, x: np.ndarray, training: np.ndarray, seed: int) -> "Shift":
        """Draw a direction for codes (N, d), of which ``training`` (N,) give the components."""
        scaler = StandardScaler().fit(x[training])
        standard = scaler.transform(x)
        pca = PCA(svd_solver="full").fit(standard[training])
        kept = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), HELD)) + 1
        kept = min(kept, len(pca.explained_variance_))
        unit = np.random.default_rng(seed).normal(size=kept)
        unit /= np.linalg.norm(unit)
        spread = np.sqrt(pca.explained_variance_[:kept])
        place = pca.transform(standard)[:, :kept] / spread @ unit
        return cls((unit * spread) @ pca.components_[:kept] * scaler.scale_, place)

    def told(self, size: float) -> float:
        """Balanced accuracy of a reader who knows the direction and a shift of so many SDs.

        Of normal codes it is that of the standard normal distribution at half the size; the codes
        need not be normal, so that those of the cohort itself are counted, each at both sites.
        """
        below, above = self.place < size / 2, self.place > -size / 2
        ties = (self.place == size / 2).mean() + (self.place == -size / 2).mean()
        return float((below.mean() + above.mean() + ties / 2) / 2)


def scanner_rows(
    data: ProbeData,
    labels: pd.DataFrame,
    visits: pd.DataFrame,
    diagnosis: Target,
    cfg: Mapping[str, Any],
    seed: int,
) -> Rows:
    """Rows of the two sites for every system of ``data``.

    Parts: ``site`` (how well the even site is told), ``harmonised`` (the same after ComBat),
    ``diagnosis`` (its AUROC on shifted and harmonised codes less that on the codes as they were),
    and of the skewed site ``gain`` and ``harmonised gain`` (on shifted codes, and after ComBat,
    less on the codes as they were). What is to be measured after ComBat has a note alone where its
    covariates cannot be told apart from the site, as with training people of one sex.

    Args:
        data: Scans and codes.
        labels: Sites of the scans (:func:`ldae.ground_truth.planted_labels.sites`).
        visits: participant_id, months and diagnosis of every visit.
        diagnosis: The target.
        cfg: Keys ``scanner``, ``probes`` and ``bootstrap`` of section ``evaluation``.
        seed: Of directions, folds, resamples and permutations.
    """
    table = data.table
    training = table["split"].isin(TRAINING).to_numpy()
    beside = covariates_of(table, cfg["scanner"]["covariates"], None)
    for system, x in data.features.items():
        for column, sizes in ((EVEN, SIZES), (SKEWED, (SKEWED_SIZE,))):
            member = labels[column].to_numpy(str)
            shift = Shift.draw(x, training, derive_seed(seed, "planted", system, column))
            separable = is_estimable(member[training], beside[training])
            for size in sizes:
                moved = x + size * (member == SITES[1])[:, None] * shift.step
                after = harmonised(moved, member, training, beside) if separable else None
                about = {"planted": column, "size": size, "system": system}
                parts = {"gain": moved, "harmonised gain": after}
                if column == EVEN:
                    parts = {"site": moved, "harmonised": after, "diagnosis": after}
                for part, codes in parts.items():
                    if codes is None:
                        yield {"part": part, "note": INSEPARABLE} | about
                    elif part in ("site", "harmonised"):
                        row, _ = told_groups(codes, member, table, SITES, cfg, seed)
                        best = shift.told(size) if part == "site" else CHANCE
                        known = {"part": part, "metric": METRIC, "chance": CHANCE}
                        yield known | {"expected": best} | about | row
                    else:
                        gap = cost_of(diagnosis, x, codes, table, visits, cfg, seed)
                        known = {"part": part, "expected": 0.0 if column == EVEN else None}
                        yield known | about | gap | {"value": gap.get("difference")}


def confounding_of_sites(
    table: pd.DataFrame,
    labels: pd.DataFrame,
    visits: pd.DataFrame,
    diagnosis: Target,
    cfg: Mapping[str, Any],
    seed: int,
) -> Rows:
    """Rows of the confound check of the diagnosis at both sites, with the association planted.

    Args:
        table: The scans.
        labels: Their sites, and ``share_at_b``: the probability with which each scan's person was
            put at site B of the skewed column.
        visits, diagnosis, cfg, seed: As for :func:`scanner_rows`.
    """
    found = labels_of(diagnosis, table, visits)
    classes = label_classes(diagnosis, found, table)
    rows = []
    for column in (EVEN, SKEWED):
        value = labels[column].to_numpy(object)
        draws = derive_seed(seed, "planted", "confounding", column)
        row, _ = confounding_rows(table, classes, value, cfg["scanner"]["permutations"], draws)
        share = labels["share_at_b"].to_numpy() if column == SKEWED else np.full(len(table), ELSE)
        known = association(table["participant_id"].to_numpy(), classes, share)
        rows.append(row | {"planted": column, "expected": known})
    found = pd.DataFrame(rows, columns=[*TABLE, "planted", "expected"])
    for row in flagged(found).to_dict("records"):
        yield {
            "part": "confounding",
            "metric": "cramers_v",
            "chance": 0.0,
            "value": row["cramers_v"],
            **{key: row[key] for key in ("planted", "expected", "p", "p_holm", "n_subjects")},
            "flag": row["confounded"],
            "note": row["note"],
        }


def association(people: np.ndarray, classes: np.ndarray, share: np.ndarray) -> float:
    """Cramér's V of the classes with the site, expected of the shares of people at site B.

    Each person counts once, at the first scan with a class, as in
    :func:`~ldae.evaluation.scanner.confounding.confounding_rows`. It is nan with one class alone.

    Args:
        people: (N,) participant of each scan.
        classes: (N,) in words; None where not known.
        share: (N,) probability of site B.
    """
    known = pd.DataFrame({"person": people, "class": classes, "share": share}).dropna()
    by_class = known.drop_duplicates("person").groupby("class")["share"]
    if by_class.ngroups < 2:
        return float("nan")
    at_b = by_class.sum()
    cells = np.column_stack([by_class.size() - at_b, at_b])
    expected = np.outer(cells.sum(1), cells.sum(0)) / cells.sum()
    chi2 = ((cells - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi2 / cells.sum() / (min(cells.shape) - 1)))
