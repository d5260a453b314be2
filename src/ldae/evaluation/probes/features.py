"""Data of the linear probes: scans, feature matrices by system, and labels of conversion to AD.

The rows of all feature matrices are the same scans in the same order.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from ldae.data.datasets import labelled
from ldae.data.embeddings import aligned_embeddings
from ldae.data.latent_store import LatentStore
from ldae.errors import UserError, require
from ldae.files import read_table

FROM, TO = "MCI", "AD"
COLUMNS = (
    "row",
    "scan_id",
    "participant_id",
    "session_id",
    "months",
    "diagnosis",
    "age",
    "sex",
    "split",
)
TRAINING = ("train", "val")
TEST = "test"
PCA_COMPONENTS = 64


def conversion_labels(scans: pd.DataFrame, visits: pd.DataFrame, months: float) -> np.ndarray:
    """Label of every scan: 1 converts to AD within ``months``, 0 does not, nan is unknown.

    A scan is eligible if its visit's diagnosis is MCI and no visit up to then has AD. It is 1 if a
    later visit, at most ``months`` after it, has AD. It is 0 if none has, and a visit with a known
    diagnosis lies ``months`` or more after it. All other scans are nan, above all those whose
    follow-up is too short. An observed conversion counts however short the follow-up is. Labelled
    scans with a short follow-up are therefore all converters; report this with the numbers.

    Args:
        scans: participant_id, months, diagnosis of the N scans to label.
        visits: The same columns for every known visit, also those whose scan is excluded.
        months: ``evaluation.probes.conversion_months``.

    Returns:
        (N,) float64 in the order of ``scans``.
    """
    known = visits[visits["diagnosis"].notna() & visits["months"].notna()]
    visits_of = dict(tuple(known.groupby("participant_id")))
    labels = np.full(len(scans), np.nan)
    columns = zip(scans["participant_id"], scans["months"], scans["diagnosis"], strict=True)
    for position, (participant, month, diagnosis) in enumerate(columns):
        if diagnosis != FROM or participant not in visits_of:
            continue
        own = visits_of[participant]
        ad_months = own.loc[own["diagnosis"] == TO, "months"]
        if (ad_months <= month).any():
            continue
        if (ad_months <= month + months).any():
            labels[position] = 1
        elif own["months"].max() >= month + months:
            labels[position] = 0
    return labels


@dataclass(frozen=True)
class ProbeData:
    """Scans and their features.

    Attributes:
        table: One row per scan (:data:`COLUMNS`), sorted by scan_id; ``row`` is that of the store.
        features: System name to (N, d) float64 in the order of ``table``.
    """

    table: pd.DataFrame
    features: dict[str, np.ndarray]

    def where(self, keep: np.ndarray) -> "ProbeData":
        """Select the scans of a boolean mask (N,)."""
        return ProbeData(
            self.table[keep].reset_index(drop=True), {k: v[keep] for k, v in self.features.items()}
        )


def latents_pca(store: LatentStore, table: pd.DataFrame, seed: int) -> np.ndarray:
    """Principal components of the autoencoder's flattened latents, fitted on training scans only.

    Args:
        store: The latents; posterior means are used.
        table: Scans with their ``row`` in the store and ``split``.
        seed: Seed of the randomised decomposition.

    Returns:
        (N, k) float64. k is the smallest of 64, the number of training scans less one, and the
        number of elements of a latent.
    """
    flat = np.stack([store.latent(row).numpy().ravel() for row in table["row"]])
    training = table["split"].isin(TRAINING).to_numpy()
    components = min(PCA_COMPONENTS, int(training.sum()) - 1, flat.shape[1])
    pca = PCA(components, svd_solver="randomized", random_state=seed).fit(flat[training])
    return pca.transform(flat).astype(np.float64)


def aligned_table(path: str | Path, scan_ids: pd.Series) -> np.ndarray:
    """Read a TSV of measures (scan_id and numbers) in the order of ``scan_ids``: (N, d) float64.

    Raises:
        UserError: a scan has no row, or a number is missing.
    """
    found = read_table(path, ("scan_id",)).set_index("scan_id")
    lacking = [name for name in scan_ids if name not in found.index]
    lacking = lacking or found.index[found.isna().any(axis=1)].tolist()
    if lacking:
        raise UserError(
            f"The table {path} lacks {len(lacking)} scan(s) or some of their numbers, the first is "
            f"{lacking[0]}. Delete the file, so that it is made again for the present scans."
        )
    return found.loc[scan_ids].to_numpy(dtype=np.float64)


def load_probe_data(
    latents: str | Path,
    embeddings: dict[str, str | Path],
    seed: int,
    tables: dict[str, str | Path] | None = None,
    test: str = TEST,
) -> ProbeData:
    """Load the features of every training and test scan with a known age and sex.

    Args:
        latents: Folder of the latent store; its index has the columns of scans.tsv and the split.
        embeddings: Name of the system (``ldae``, ``untrained``, ...) to its embeddings file.
        seed: Seed of the randomised PCA.
        tables: Name of the system (``volumes``) to its TSV of measures.
        test: The split to test on: the cohort's own, or ``external`` for the external test sets. It
            is called ``test`` in the result; scans of the other one are left out.

    Returns:
        Scans and features. Systems: the names of ``embeddings``, ``latents_pca``, the names of
        ``tables``, and ``age_sex`` (years; 1 for male).

    Raises:
        UserError: a participant is in two splits, a column of the index is missing, a scan lacks
            its embedding or measures, or no training or test scan has age and sex.
    """
    store = LatentStore(latents)
    lacking = [name for name in COLUMNS if name not in store.index.columns]
    require(not lacking, f"The index of {latents} lacks the column(s) {', '.join(lacking)}.")
    table = store.index[list(COLUMNS)]
    table = table[table["split"].isin([*TRAINING, test])].replace({"split": {test: TEST}})
    table = table[labelled(table, "age", [])]
    table = table.sort_values("scan_id", ignore_index=True)
    for part in (TRAINING, (TEST,)):
        require(
            bool(table["split"].isin(part).any()),
            f"No scan of the split(s) {', '.join(part)} has age and sex, which the probes need.",
        )
    features = {
        name: aligned_embeddings(path, table["scan_id"], volumes=store.card["volumes"])
        for name, path in embeddings.items()
    }
    features["latents_pca"] = latents_pca(store, table, seed)
    for name, path in (tables or {}).items():
        features[name] = aligned_table(path, table["scan_id"])
    features["age_sex"] = np.column_stack([table["age"], table["sex"] == "M"]).astype(np.float64)
    return ProbeData(table, features)
