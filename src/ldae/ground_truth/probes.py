"""Correlations of probe outputs with the truth of a synthetic cohort, on test subjects.

They show how much of the true atrophy and volumes the embeddings encode. Only for cohorts whose
truth is known (config ``evaluation.truth``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.config import diagnosis_classes
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, difference_of
from ldae.evaluation.metrics.classification import pearson
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData, load_probe_data
from ldae.evaluation.probes.linear import fit_classifier, fit_regressor
from ldae.files import write_table
from ldae.ground_truth.truth import join_truth

KNOWN = ("atrophy", "ventricle_ml", "hippocampus_ml")  # of the truth of a visit
# Columns of the truth that the output of each probe is correlated with.
TARGETS = {
    "age_probe": ("age",),
    "diagnosis_probe": ("atrophy", "ventricle_ml", "hippocampus_ml"),
    "atrophy_probe": ("atrophy", "ventricle_ml", "hippocampus_ml"),
}


def correlate_with_truth(
    truth: Sequence[str | Path],
    embeddings: dict[str, str | Path],
    latents: str | Path,
    predictions: str | Path,
    table: str | Path,
    cfg: dict[str, Any],
    seed: int,
    pca: str | Path | None = None,
) -> None:
    """Correlate probe outputs on test scans with the known truth.

    Age and diagnosis probes are those of :mod:`ldae.evaluation.probes.evaluate`, applied to test
    scans of every diagnosis. ``atrophy_probe`` is a ridge regression fitted on the truth of
    training subjects. The system ``age_sex`` has no age probe: its features contain the age.

    Args:
        truth: truth.tsv of each cohort, one row per visit.
        embeddings, latents, pca: As in :class:`ldae.evaluation.probes.evaluate.Sources`.
        predictions: Per-scan TSV to write: prediction (the probe), system, scan_id,
            participant_id, age, :data:`KNOWN` (volumes in template scale), output (of the probe).
        table: TSV to write: prediction, truth, system, reference, r, ci_low, ci_high, n_scans,
            n_subjects. Rows with a reference are differences of r between ``ldae`` and that system.
        cfg: Section ``evaluation`` (``targets``, ``probes``, ``bootstrap``).
        seed: Seed of folds, PCA and resamples.

    Raises:
        UserError: the truth lacks a scan, or has two rows for a visit.
    """
    data = load_probe_data(latents, embeddings, seed, pca=pca)
    merged = join_truth(data.table.drop(columns="age"), truth, ["age", "atrophy"])
    outputs = _outputs(data, merged["atrophy"].to_numpy(), cfg, seed)
    test = merged[merged["split"] == TEST].reset_index(drop=True)
    frames = []
    for (prediction, system), values in outputs.items():
        kept = test[["scan_id", "participant_id", "age", *KNOWN]]
        kept = kept.assign(output=values)
        kept.insert(0, "system", system)
        kept.insert(0, "prediction", prediction)
        frames.append(kept)
    write_table(pd.concat(frames, ignore_index=True), predictions)
    write_table(_correlations(outputs, test, cfg["bootstrap"], seed), table)


def _outputs(
    data: ProbeData, atrophy: np.ndarray, cfg: dict[str, Any], seed: int
) -> dict[tuple[str, str], np.ndarray]:
    """Output of each (probe, system) on the test scans."""
    negative, positive = diagnosis_classes(cfg)
    training = data.table["split"].isin(TRAINING).to_numpy()
    test = (data.table["split"] == TEST).to_numpy()
    classed = training & data.table["diagnosis"].isin([negative, positive]).to_numpy()
    groups, folds = data.table["participant_id"].to_numpy(), cfg["probes"]["cv_folds"]
    age = data.table["age"].to_numpy()
    ill = (data.table["diagnosis"] == positive).to_numpy()
    outputs = {}
    for system, x in data.features.items():
        if system != "age_sex":
            model = fit_regressor(x[training], age[training], groups[training], folds)
            outputs["age_probe", system] = model.predict(x[test])
        model = fit_classifier(x[classed], ill[classed], groups[classed], folds, seed)
        outputs["diagnosis_probe", system] = model.decision_function(x[test])
        model = fit_regressor(x[training], atrophy[training], groups[training], folds)
        outputs["atrophy_probe", system] = model.predict(x[test])
    return outputs


def _correlations(
    outputs: dict[tuple[str, str], np.ndarray], test: pd.DataFrame, resamples: int, seed: int
) -> pd.DataFrame:
    bootstrap = ClusterBootstrap(test["participant_id"], resamples, seed)
    size = bootstrap.counts
    rows, gaps = [], []
    for (prediction, system), values in outputs.items():
        for column in TARGETS[prediction]:
            truth = test[column].to_numpy()
            key = {"prediction": prediction, "truth": column}
            own = pearson(values, truth)
            interval = bootstrap.interval(own).row("r")
            rows.append(key | {"system": system, "reference": None} | interval | size)
            if system != "ldae":
                ours = pearson(outputs[prediction, "ldae"], truth)
                interval = bootstrap.interval(difference_of(ours, own)).row("r")
                gaps.append(key | {"system": "ldae", "reference": system} | interval | size)
    return pd.DataFrame(rows + gaps)
