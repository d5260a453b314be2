"""Data of the linear probes: scans, and feature matrices by system.

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
from ldae.files import read_table, save_arrays

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


def write_latents_pca(latents: str | Path, out: str | Path, seed: int) -> None:
    """Write the baseline ``latents_pca`` of the scans that the probes use, once for all targets.

    Args:
        latents: Folder of the latent store.
        out: npz to write: scan_id (N,), components (N, k) float64.
        seed: Seed of the randomised decomposition.
    """
    store = LatentStore(latents)
    table = probe_scans(store, latents, TEST)
    save_arrays(out, scan_id=table["scan_id"], components=latents_pca(store, table, seed))


def _read_pca(path: str | Path, scan_ids: pd.Series) -> np.ndarray:
    """Rows of a file of :func:`write_latents_pca`.

    Raises:
        UserError: the file is of other scans.
    """
    with np.load(path) as file:
        names, components = file["scan_id"].tolist(), file["components"]
    require(
        names == scan_ids.tolist(),
        f"{path} is of other scans than the latent store. Delete it, so that it is made again.",
    )
    return components


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


def probe_scans(store: LatentStore, latents: str | Path, test: str) -> pd.DataFrame:
    """Training scans and those of the split ``test``, which the result calls so, by scan_id.

    Args:
        store: The latent store.
        latents: Its folder, for messages.
        test: As for :func:`load_probe_data`.

    Raises:
        UserError: a column of the index is missing, or no training or test scan has age and sex.
    """
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
    return table


def load_probe_data(
    latents: str | Path,
    embeddings: dict[str, str | Path],
    seed: int,
    tables: dict[str, str | Path] | None = None,
    test: str = TEST,
    pca: str | Path | None = None,
) -> ProbeData:
    """Load the features of every training and test scan with a known age and sex.

    Args:
        latents: Folder of the latent store; its index has the columns of scans.tsv and the split.
        embeddings: Name of the system (``ldae``, ``untrained``, ...) to its embeddings file.
        seed: Seed of the randomised PCA.
        tables: Name of the system (``volumes``) to its TSV of measures.
        test: The split to test on: the cohort's own, or ``external`` for the external test sets. It
            is called ``test`` in the result; scans of the other one are left out.
        pca: File of :func:`write_latents_pca` of the own test set; None: computed here.

    Returns:
        Scans and features. Systems: the names of ``embeddings``, ``latents_pca``, the names of
        ``tables``, and ``age_sex`` (years; 1 for male).

    Raises:
        UserError: a participant is in two splits, a column of the index is missing, a scan lacks
            its embedding or measures, or no training or test scan has age and sex.
    """
    store = LatentStore(latents)
    table = probe_scans(store, latents, test)
    features = {
        name: aligned_embeddings(path, table["scan_id"], volumes=store.card["volumes"])
        for name, path in embeddings.items()
    }
    features["latents_pca"] = (
        _read_pca(pca, table["scan_id"]) if pca else latents_pca(store, table, seed)
    )
    for name, path in (tables or {}).items():
        features[name] = aligned_table(path, table["scan_id"])
    features["age_sex"] = np.column_stack([table["age"], table["sex"] == "M"]).astype(np.float64)
    return ProbeData(table, features)
