"""Which scans a model has seen, kept beside it, and whether it may be used with a store.

New scans do not train a model anew, so a model is used with a store that it was not trained on.
It then has to hold that no subject it has seen is tested on, and that the scans look as they did.

``scans.tsv`` beside a model: scan_id, participant_id, split and sha256 (of the volume, or of its
latent) of all scans of the splits train and val, and image_hash and look (of the volume,
:mod:`ldae.data.thumbnails`) where the store knows them.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.data.store import IDENTITY, Store
from ldae.data.thumbnails import THUMBNAIL, changed_scans
from ldae.errors import require
from ldae.files import read_table, sha256, write_table

SCANS = "scans.tsv"
UNTESTED = ("train", "val")
IMAGE = "image_hash"
TOLERANCE = 1e-3  # mm, of the affine
log = logging.getLogger(__name__)


def write_training_scans(store: Store, folder: str | Path) -> dict[str, Any]:
    """Write scans.tsv beside a model trained on ``store``; returns what the card says of it.

    Returns:
        ``form`` (of the store, :attr:`Store.form`) and ``scans``: their number by split, that of
        the subjects, and the checksum of scans.tsv.
    """
    columns = [*IDENTITY, *(name for name in (IMAGE, THUMBNAIL) if name in store.index)]
    trained_on = store.index.loc[store.index["split"].isin(UNTESTED), columns]
    path = Path(folder) / SCANS
    write_table(trained_on, path)
    counts = {split: int((trained_on["split"] == split).sum()) for split in UNTESTED}
    subjects = int(trained_on["participant_id"].nunique())
    return {"form": store.form, "scans": counts | {"subjects": subjects, "sha256": sha256(path)}}


def read_training_scans(folder: str | Path, card: dict[str, Any]) -> pd.DataFrame:
    """The scans that the model in ``folder`` has seen.

    Raises:
        UserError: scans.tsv is missing, or is not that of the model.
    """
    path = Path(folder) / SCANS
    require(
        path.is_file() and card.get("scans", {}).get("sha256") == sha256(path),
        f"{path}, the scans that the model in {folder} was trained on, is missing or not of this "
        "model, so that nobody knows whom it may be tested on. Copy it there with the model's "
        f"other files, or train again: `snakemake --forcerun {Path(folder).name}`.",
    )
    return read_table(path, IDENTITY)


def refuse_leakage(store: Store, card: dict[str, Any], folder: str | Path) -> None:
    """Raise unless the store's test split holds nobody, and no image, that the model has seen.

    Whom published models have seen is not known; their card says so.

    Raises:
        UserError: naming the subjects.
    """
    if not card.get("published"):
        _refuse_leakage(store, read_training_scans(folder, card), folder)


def _refuse_leakage(store: Store, trained_on: pd.DataFrame, folder: str | Path) -> None:
    test = store.index[store.index["split"] == "test"]
    met = test["participant_id"].isin(trained_on["participant_id"])
    if IMAGE in test and IMAGE in trained_on:
        met |= test[IMAGE].isin(trained_on[IMAGE].dropna())
    names = sorted(set(test.loc[met, "participant_id"]))
    require(
        not names,
        f"The model in {folder} was trained on {len(names)} subject(s) that are in the test split "
        f"of {store.folder} now, {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}: it "
        "would be tested on people it has seen. Restore the splits (docs/partial-runs.md), or "
        f"train again: `snakemake --forcerun {Path(folder).name}`.",
    )


def require_same_form(volumes: Store, card: dict[str, Any], folder: str | Path) -> None:
    """Raise unless a volume store has the shape, spacing, grid and intensities of the model's."""
    here, there = volumes.form, card.get("form")
    rule = "published" if card.get("published") else Path(folder).name
    require(
        there is not None,
        f"The model in {folder} does not say what volumes it is for. Train it again, or convert "
        "it again for this store (docs/pretrained.md).",
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
    """Whether two forms agree in ``key``; grids do up to a thousandth of a millimetre."""
    if key != "affine" or here is None or there is None:
        return here == there
    return np.allclose(here, there, atol=TOLERANCE)


def require_fit(volumes: Store, card: dict[str, Any], folder: str | Path) -> None:
    """Raise unless the model may be used with, and tested on, a volume store.

    Raises:
        UserError: it has seen what is tested on; the volumes have another form; or most of the
            scans it has seen look otherwise now, as after another preprocessing. Other bits alone
            are no matter (:mod:`ldae.data.thumbnails`).
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
        f"trained on have changed since, first {changed[:1]}: the preprocessing is another one. "
        f"Restore it, or train again: `snakemake --forcerun {Path(folder).name}`.",
    )
    log.info(
        "%s was trained on %d scans, of which %d are here (%d have changed); here are %d",
        folder, len(trained_on), here, len(changed), len(volumes),
    )  # fmt: skip
