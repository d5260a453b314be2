"""Readings of the linear probes from y_sem, of training scans by probes that have not seen them.

A probe fits the people it was trained on better than others: their logits lie farther apart, and
their ages nearer to the true ones, than those of new people. Curves of such readings would be too
narrow. Training scans are therefore read by probes of the same penalty that were fitted without
their subject, and all others by the probes of the bundle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ldae.errors import require
from ldae.evaluation.normative.measures import LOGIT, PREDICTED_AGE
from ldae.evaluation.probes.features import TRAINING
from ldae.evaluation.probes.linear import held_out_predictions
from ldae.evaluation.probes.preconditioned import PreconditionedLogistic
from ldae.evaluation.probes.scores import COMPARED
from ldae.evaluation.probes.target_table import AGE, DIAGNOSIS, REGULARISED


def penalties(probes: pd.DataFrame) -> dict[str, float]:
    """Penalties of the LDAE's probes of diagnosis (C) and age (alpha), from ``probes.tsv``.

    Raises:
        UserError: the table lacks one.
    """
    rows = probes[(probes["system"] == COMPARED) & (probes["probe"] == REGULARISED)]
    known = rows.drop_duplicates("target").set_index("target")["penalty"]
    for target in (DIAGNOSIS, AGE):
        require(
            target in known.index and np.isfinite(known[target]),
            f"The table of the probes has no penalty of {COMPARED} for {target}: run the target "
            "`probes` again.",
        )
    return {target: float(known[target]) for target in (DIAGNOSIS, AGE)}


def readings(
    y: np.ndarray,
    scans: pd.DataFrame,
    files: Mapping[str, str | Path],
    penalty: Mapping[str, float],
    classes: Sequence[str],
    folds: int,
    seed: int,
) -> pd.DataFrame:
    """Logit and age that are read from y_sem: columns ``logit`` and ``predicted_age``.

    Args:
        y: (N, d) codes of the scans.
        scans: N rows: participant_id, diagnosis, age (years), split.
        files: Files (npz) of the bundle's probes, by target: ``diagnosis``, ``age``.
        penalty: Of :func:`penalties`.
        classes: Negative and positive class.
        folds: Number of folds of whole subjects.
        seed: Seed of the folds of the diagnosis.
    """
    found = pd.DataFrame(
        {LOGIT: stored_reading(y, files[DIAGNOSIS]), PREDICTED_AGE: stored_reading(y, files[AGE])},
        index=scans.index,
    )
    training = scans["split"].isin(TRAINING).to_numpy()
    groups = scans["participant_id"].to_numpy()
    fitted = training & scans["diagnosis"].isin(classes).to_numpy()
    labels = (scans["diagnosis"] == classes[1]).to_numpy()
    fewest = min(len(set(groups[fitted & (labels == one)])) for one in (False, True))
    model = make_pipeline(StandardScaler(), PreconditionedLogistic(penalty[DIAGNOSIS]))
    inner = StratifiedGroupKFold(min(folds, fewest), shuffle=True, random_state=seed)
    found.loc[fitted, LOGIT] = cross_val_predict(
        model, y[fitted], labels[fitted], groups=groups[fitted], cv=inner,
        method="decision_function",
    )  # fmt: skip
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=penalty[AGE]))
    ages = scans.loc[training, "age"].to_numpy()
    held_out = held_out_predictions(ridge, y[training], ages, groups[training], folds)
    found.loc[training, PREDICTED_AGE] = held_out
    return found


def stored_reading(y: np.ndarray, path: str | Path) -> np.ndarray:
    """Output (N,) of a stored probe for codes (N, d): a logit, or years."""
    with np.load(path) as probe:
        return (y - probe["mean"]) / probe["std"] @ probe["w"] + float(probe["b"])
