"""Training scans of a model, listed beside it; checks for leakage and for changed volumes.

New scans do not retrain a model, so a model is used with stores that it was not trained on. Two
conditions must then hold. No subject that the model was trained on is in the test split. The
volumes of its training scans have not changed.

``scans.tsv`` beside a model lists all scans of the splits train and val: scan_id, participant_id,
split and sha256 (of the volume, or of its latent). Where the store has them, the columns image_hash
and look (thumbnail of the volume, :mod:`ldae.data.thumbnails`) are added.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.cohort.splits import EXTERNAL
from ldae.data.store import IDENTITY, Store
from ldae.data.thumbnails import THUMBNAIL, changed_scans
from ldae.errors import require
from ldae.files import read_table, sha256, write_table

SCANS = "scans.tsv"
TRAINING_SPLITS = ("train", "val")
IMAGE = "image_hash"
TOLERANCE = 1e-3  # mm, of the affine
log = logging.getLogger(__name__)


def write_training_scans(store: Store, folder: str | Path) -> dict[str, Any]:
    """Write scans.tsv beside a model trained on ``store``; return its entries for the card.

    Returns:
        ``form`` (:attr:`Store.form`) and ``scans``: number of scans by split, number of subjects,
        and the SHA-256 of scans.tsv.
    """
    columns = [*IDENTITY, *(name for name in (IMAGE, THUMBNAIL) if name in store.index)]
    trained_on = store.index.loc[store.index["split"].isin(TRAINING_SPLITS), columns]
    path = Path(folder) / SCANS
    write_table(trained_on, path)
    counts = {split: int((trained_on["split"] == split).sum()) for split in TRAINING_SPLITS}
    subjects = int(trained_on["participant_id"].nunique())
    return {"form": store.form, "scans": counts | {"subjects": subjects, "sha256": sha256(path)}}


def read_training_scans(folder: str | Path, card: dict[str, Any]) -> pd.DataFrame:
    """Read the scans that the model in ``folder`` was trained on.

    Raises:
        UserError: scans.tsv is missing, or belongs to another model.
    """
    path = Path(folder) / SCANS
    require(
        path.is_file() and card.get("scans", {}).get("sha256") == sha256(path),
        f"{path}, the list of the scans that the model in {folder} was trained on, is missing or "
        "belongs to another model. Without it, leakage into the test split cannot be ruled out. "
        "Copy it there with the model's other files, or train again: "
        f"`snakemake --forcerun {Path(folder).name}`.",
    )
    return read_table(path, IDENTITY)


def refuse_leakage(store: Store, card: dict[str, Any], folder: str | Path) -> None:
    """Raise where a subject or an image of the store's test splits was in the model's training.

    They are the cohort's own test set and the external ones.

    Published models pass: their training scans are not known, as their card says.

    Raises:
        UserError: naming the subjects; or the list of training scans is missing.
    """
    if not card.get("published"):
        _refuse_leakage(store, read_training_scans(folder, card), folder)


def _refuse_leakage(store: Store, trained_on: pd.DataFrame, folder: str | Path) -> None:
    test = store.index[store.index["split"].isin(("test", EXTERNAL))]
    leaked = test["participant_id"].isin(trained_on["participant_id"])
    if IMAGE in test and IMAGE in trained_on:
        leaked |= test[IMAGE].isin(trained_on[IMAGE].dropna())
    names = sorted(set(test.loc[leaked, "participant_id"]))
    require(
        not names,
        f"The model in {folder} was trained on {len(names)} subject(s) that are in the test split "
        f"of {store.folder} now, {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}: the "
        "test would be biased by leakage. Restore the splits (docs/partial-runs.md) or the role "
        "of the data set (cohort.beside.NAME.role), or train "
        f"again: `snakemake --forcerun {Path(folder).name}`.",
    )


def require_same_form(volumes: Store, card: dict[str, Any], folder: str | Path) -> None:
    """Raise unless a volume store has the shape, spacing, grid and intensities of the model's.

    Raises:
        UserError: naming the properties that differ.
    """
    here, there = volumes.form, card.get("form")
    rule = "published" if card.get("published") else Path(folder).name
    require(
        there is not None,
        f"The card of the model in {folder} does not state the shape, spacing, grid and "
        "intensities of its volumes. Train it again, or convert it again for this store "
        "(docs/pretrained.md).",
    )
    differing = [
        key for key in sorted(here | there) if not _same(key, here.get(key), there.get(key))
    ]
    require(
        not differing,
        f"The model in {folder} is for other volumes than those of {volumes.folder}: they differ "
        f"in {', '.join(differing)}. Restore the section volumes of the configuration, or make "
        f"the model again: `snakemake --forcerun {rule}`.",
    )


def _same(key: str, here: Any, there: Any) -> bool:
    """Whether two forms agree in ``key``; affines up to a thousandth of a millimetre."""
    if key != "affine" or here is None or there is None:
        return here == there
    return np.allclose(here, there, atol=TOLERANCE)


def require_fit(volumes: Store, card: dict[str, Any], folder: str | Path) -> None:
    """Raise unless the model may be used with, and tested on, a volume store.

    Raises:
        UserError: the volumes have another form; a test subject was in the model's training; or
            more than half of its training scans in the store have changed, as after another
            preprocessing. Rounding is no change (:mod:`ldae.data.thumbnails`).
    """
    require_same_form(volumes, card, folder)
    if card.get("published"):
        return
    trained_on = read_training_scans(folder, card)
    _refuse_leakage(volumes, trained_on, folder)
    here, changed = changed_scans(trained_on, volumes.index)
    require(
        2 * len(changed) <= here,
        f"{len(changed)} of the {here} scans in {volumes.folder} that the model in {folder} was "
        f"trained on have changed since, first {changed[:1]}: the preprocessing has changed. "
        f"Restore it, or train again: `snakemake --forcerun {Path(folder).name}`.",
    )
    log.info(
        "%s was trained on %d scans, of which %d are here (%d have changed); here are %d",
        folder, len(trained_on), here, len(changed), len(volumes),
    )  # fmt: skip
