"""Which MCI scans were followed by AD in time: labels of the conversion probe.

Feature matrices that the linear probes are fitted on, row by row for the same scans.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from ldae.data.embeddings import aligned_embeddings
from ldae.data.latent_store import LatentStore
from ldae.errors import UserError, require
from ldae.files import read_table

FROM, TO = "MCI", "AD"


def conversion_labels(scans: pd.DataFrame, visits: pd.DataFrame, months: float) -> np.ndarray:
    """Label of every scan: 1 converts within ``months``, 0 does not, nan cannot be said.

    A scan counts if its visit's diagnosis is MCI and no earlier visit's was AD. It is positive if
    a later visit, at most ``months`` after it, has AD; negative if none has and a visit with a
    known diagnosis lies ``months`` or more after it. All else, follow-up too short above all, is
    nan. A conversion that is seen counts however short the follow-up, so among scans with short
    follow-up only converters stay: report it with the numbers.

    Args:
        scans: participant_id, months, diagnosis of the scans to label.
        visits: The same columns for every visit known, also those whose scan is not used.
        months: ``evaluation.probes.conversion_months``.

    Returns:
        (N,) float64 in the order of ``scans``.
    """
    known = visits[visits["diagnosis"].notna() & visits["months"].notna()]
    of = dict(tuple(known.groupby("participant_id")))
    labels = np.full(len(scans), np.nan)
    columns = zip(scans["participant_id"], scans["months"], scans["diagnosis"], strict=True)
    for place, (participant, month, diagnosis) in enumerate(columns):
        if diagnosis != FROM or participant not in of:
            continue
        own = of[participant]
        ill = own.loc[own["diagnosis"] == TO, "months"]
        if (ill <= month).any():
            continue
        if (ill <= month + months).any():
            labels[place] = 1
        elif own["months"].max() >= month + months:
            labels[place] = 0
    return labels


COLUMNS = ("row", "scan_id", "participant_id", "session_id", "months", "diagnosis", "age", "sex")
COLUMNS += ("split",)
TRAINING = ("train", "val")
TEST = "test"
PCA_COMPONENTS = 64


@dataclass(frozen=True)
class ProbeData:
    """Scans and their features.

    Attributes:
        table: One row per scan (:data:`COLUMNS`), sorted by scan_id.
        features: System name to (N, d) float64 in the order of ``table``.
    """

    table: pd.DataFrame
    features: dict[str, np.ndarray]

    def where(self, keep: np.ndarray) -> "ProbeData":
        """The scans of a boolean mask."""
        return ProbeData(
            self.table[keep].reset_index(drop=True), {k: v[keep] for k, v in self.features.items()}
        )


def latents_pca(store: LatentStore, table: pd.DataFrame, seed: int) -> np.ndarray:
    """Principal components of the autoencoder's flattened latents, fitted on training scans alone.

    Args:
        store: The latents; posterior means are used.
        table: Scans with their ``row`` in the store and ``split``.
        seed: Of the randomised decomposition.

    Returns:
        (N, k) float64, k = 64 or the number of training scans less one if that is smaller.
    """
    flat = np.stack([store.latent(row).numpy().ravel() for row in table["row"]])
    training = table["split"].isin(TRAINING).to_numpy()
    components = min(PCA_COMPONENTS, int(training.sum()) - 1, flat.shape[1])
    pca = PCA(components, svd_solver="randomized", random_state=seed).fit(flat[training])
    return pca.transform(flat).astype(np.float64)


def aligned_table(path: str | Path, scan_ids: pd.Series) -> np.ndarray:
    """Rows of a table of measures (scan_id and numbers) in the order of ``scan_ids``: (N, d).

    Raises:
        UserError: a scan has no row, or a number is missing.
    """
    found = read_table(path, ("scan_id",)).set_index("scan_id")
    lacking = [name for name in scan_ids if name not in found.index]
    lacking = lacking or found.index[found.isna().any(axis=1)].tolist()
    if lacking:
        raise UserError(
            f"The table {path} lacks {len(lacking)} scan(s) or numbers of them, the first is "
            f"{lacking[0]}; delete the file so that it is made again for the present scans."
        )
    return found.loc[scan_ids].to_numpy(dtype=np.float64)


def load_probe_data(
    latents: str | Path,
    embeddings: dict[str, str | Path],
    seed: int,
    tables: dict[str, str | Path] | None = None,
) -> ProbeData:
    """Features of every scan with a known age and sex.

    Args:
        latents: Folder of the latent store; its index has the columns of scans.tsv and the split,
            and is refused if a participant is in two splits.
        embeddings: Name of the system (``ldae``, ``untrained``, ...) to its embeddings file.
        seed: Of the randomised PCA.
        tables: Name of the system (``volumes``) to its table of measures.

    Returns:
        Systems: ``embeddings``' names, ``latents_pca``, ``tables``' names and ``age_sex`` (years;
        1 for male).
    """
    store = LatentStore(latents)
    lacking = [name for name in COLUMNS if name not in store.index.columns]
    require(not lacking, f"The index of {latents} lacks the column(s) {', '.join(lacking)}.")
    table = store.index[list(COLUMNS)]
    table = table[table["age"].notna() & table["sex"].isin(["M", "F"])]
    table = table.sort_values("scan_id", ignore_index=True)
    for part in (TRAINING, (TEST,)):
        require(
            bool(table["split"].isin(part).any()),
            f"No scan of the split(s) {', '.join(part)} has age and sex; the probes need them.",
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
