"""Linear probes of frozen embeddings: diagnosis, age, MCI as a third group, conversion to AD.

Section 4.2, Table 7, Figure 5. All probes are fitted on training subjects and scored on test
subjects.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ldae.errors import UserError
from ldae.evaluation.probes.features import (
    TEST,
    TRAINING,
    ProbeData,
    conversion_labels,
    load_probe_data,
)
from ldae.evaluation.probes.scores import COMPARED, NONE, absent_row, score_table
from ldae.evaluation.probes.targets import (
    paper_age,
    paper_diagnosis,
    probe_age,
    probe_conversion,
    probe_diagnosis,
    probe_groups,
)
from ldae.files import atomic, read_table, write_table

OUTCOMES = ("stays MCI", "converts")
DIGITS = 12  # of stored predictions; with fewer, scores of weak probes would tie


def evaluate_probes(
    embeddings: dict[str, str | Path],
    latents: str | Path,
    out_dir: str | Path,
    table: str | Path,
    differences: str | Path,
    cfg: dict[str, Any],
    seed: int,
    *,
    volumes: str | Path,
    visits: str | Path,
    oracle: str | Path | None = None,
    predictions: dict[str, list[str | Path]] | None = None,
) -> None:
    """Fit all probes on training subjects, score them on test subjects, and write the results.

    Regularised probes are fitted on the splits ``train`` and ``val``, whose labels the encoder was
    not trained on. The paper's probes are fitted on 70 % of the subjects of ``train``. All probes
    are scored on ``test``. Diagnosis uses the scans of ``probes.classes``, age those of every
    diagnosis, groups those of ``probes.groups``, conversion MCI scans
    (:func:`ldae.evaluation.probes.features.conversion_labels`).
    Only scans with known age and sex are included, so all systems get the same scans.

    Args:
        embeddings: System to its embeddings file: ``{"ldae": path, "untrained": path, ...}``.
        latents: Folder of the latent store: scans, splits, and the baseline ``latents_pca``.
        out_dir: Receives ``predictions_<target>.tsv`` for every target of
            :data:`ldae.systems.TARGETS`, ``classifier.npz`` (direction of the manipulation),
            ``age_regressor.npz`` and ``lda_projection.tsv``.
        table: TSV of scores to write: target, probe, system, metric, value, ci_low, ci_high,
            n_scans, n_subjects, n_positive, penalty, n_seeds, seed_sd, paper, paper_source, note. A
            target with too few subjects has one row without a value, and its note gives the reason.
        differences: TSV to write, paired differences of the LDAE with the other systems on the same
            resamples: target, probe, system, reference, metric, difference, ci_low, ci_high, p,
            p_holm (corrected for the number of systems), n_scans, n_subjects.
        cfg: Section ``evaluation`` of the config (``probes``, ``bootstrap``).
        seed: Seed of folds, PCA and resamples.
        volumes: TSV of tissue volumes of every scan, the baseline ``volumes``.
        visits: TSV of every known visit: participant_id, months, diagnosis.
        oracle: TSV of true volumes of every scan of a synthetic cohort, the baseline ``oracle``.
        predictions: Target to files of test predictions by other models (the supervised encoder).
            Columns as in ``predictions_<target>.tsv``; probe, seed, penalty and corrected may be
            absent.

    Raises:
        UserError: splits share subjects, an embedding or a class is missing, or predictions are for
            other scans.
    """
    out_dir, settings = Path(out_dir), cfg["probes"]
    data = load_probe_data(
        latents, embeddings, seed, {"volumes": volumes} | ({"oracle": oracle} if oracle else {})
    )
    negative, positive = settings["classes"]
    diagnosis = data.where(data.table["diagnosis"].isin([negative, positive]).to_numpy())
    for part in (TRAINING, (TEST,)):
        require_classes(diagnosis.table, part, (negative, positive))

    classifiers, classes = probe_diagnosis(diagnosis, positive, settings, seed)
    regressors, ages = probe_age(data, settings)
    frames_by_target = {
        "diagnosis": [classes, paper_diagnosis(diagnosis, positive, settings)],
        "age": [ages, paper_age(data, settings)],
    }
    for target, paths in (predictions or {}).items():
        frames_by_target[target] += [read_predictions(path) for path in paths]
    rows, gaps = [], []
    for target, frames in frames_by_target.items():
        predicted = pd.concat(frames, ignore_index=True)
        _score(target, predicted, (negative, positive), cfg, seed, out_dir, rows, gaps)

    known = read_table(visits, ("participant_id", "months", "diagnosis"))
    for target, part, labels, classes in grouped_targets(data, known, settings):
        note = too_few(part.table, labels, classes, settings["min_subjects"])
        if note:
            rows.append(absent_row(target, part.table[part.table["split"] == TEST], note))
            empty = pd.DataFrame(columns=["probe", "system", "seed", "scan_id"])
            write_table(empty, out_dir / f"predictions_{target}.tsv")
            continue
        predicted = predict_groups(target, part, labels, settings, seed)
        _score(target, predicted, classes, cfg, seed, out_dir, rows, gaps)

    save_linear(classifiers[COMPARED], out_dir / "classifier.npz", classes=[negative, positive])
    save_linear(regressors[COMPARED], out_dir / "age_regressor.npz")
    write_table(lda_projection(diagnosis), out_dir / "lda_projection.tsv")
    write_table(pd.DataFrame(gaps), differences)
    write_table(pd.DataFrame(rows).astype({"n_positive": "Int64"}), table)


def _score(
    target: str,
    predicted: pd.DataFrame,
    classes: tuple[str, ...],
    cfg: dict[str, Any],
    seed: int,
    out_dir: Path,
    rows: list[dict],
    gaps: list[dict],
) -> None:
    """Write the predictions of a target; append its scores to ``rows``, differences to ``gaps``."""
    found = score_table(target, predicted, classes, cfg["bootstrap"], seed)
    rows += found[0]
    gaps += found[1]
    path = out_dir / f"predictions_{target}.tsv"
    write_table(predicted.astype({"seed": "Int64"}), path, DIGITS)


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read test predictions of a model that is not a probe; absent columns are filled."""
    found = read_table(path, ("system", "scan_id", "participant_id", "predicted"))
    absent = {"probe": NONE, "seed": np.nan, "penalty": np.nan, "corrected": np.nan}
    return found.assign(**{name: value for name, value in absent.items() if name not in found})


def grouped_targets(
    data: ProbeData, visits: pd.DataFrame, settings: dict[str, Any]
) -> list[tuple[str, ProbeData, np.ndarray, Sequence[str]]]:
    """The targets ``groups`` and ``conversion``: name, their scans, label of each scan, classes.

    Args:
        data: All scans.
        visits: participant_id, months, diagnosis of every known visit.
        settings: Section ``evaluation.probes``.
    """
    groups = settings["groups"]
    part = data.where(data.table["diagnosis"].isin(groups).to_numpy())
    labels = conversion_labels(data.table, visits, settings["conversion_months"])
    known = ~np.isnan(labels)
    outcomes = np.where(labels[known] == 1, OUTCOMES[1], OUTCOMES[0])
    return [
        ("groups", part, part.table["diagnosis"].to_numpy(dtype=str), groups),
        ("conversion", data.where(known), outcomes, OUTCOMES),
    ]


def predict_groups(
    target: str, part: ProbeData, labels: np.ndarray, settings: dict[str, Any], seed: int
) -> pd.DataFrame:
    """Test predictions of one of :func:`grouped_targets`."""
    if target == "groups":
        return probe_groups(part, settings, seed)
    return probe_conversion(part, labels == OUTCOMES[1], settings, seed)


def too_few(
    table: pd.DataFrame, labels: np.ndarray, classes: Sequence[str], least: int
) -> str | None:
    """A note if a class has fewer subjects than ``least`` in training or test, else None.

    Args:
        table: Rows of N scans: participant_id, split.
        labels: (N,) class of each scan.
        classes: All classes.
        least: ``evaluation.probes.min_subjects``.
    """
    found = []
    for name, splits in (("training", TRAINING), ("test", (TEST,))):
        inside = table["split"].isin(splits).to_numpy()
        for one in classes:
            count = table.loc[inside & (labels == one), "participant_id"].nunique()
            if count < least:
                found.append(f"{count} {one} in {name}")
    if not found:
        return None
    return f"too few subjects: {', '.join(found)}; {least} of each are needed"


def require_classes(table: pd.DataFrame, splits: tuple[str, ...], classes: tuple[str, str]) -> None:
    """Require a scan of each class in the given splits.

    Raises:
        UserError: a class has no scan.
    """
    found = set(table.loc[table["split"].isin(splits), "diagnosis"])
    lacking = [name for name in classes if name not in found]
    if lacking:
        raise UserError(
            f"No scan of the split(s) {', '.join(splits)} has the diagnosis {lacking[0]}, so the "
            "diagnosis probe cannot be fitted or tested. Use more subjects, another "
            "cohort.splits.seed or larger test_fraction, or other evaluation.probes.classes."
        )


def save_linear(model: Pipeline, path: str | Path, **more: Any) -> None:
    """Write a linear model of y_sem: output = w . (y - mean)/std + b = w_raw . y + b_raw.

    The output is the logit of the positive class, or the age in years.

    Args:
        model: Fitted pipeline of a scaler and a linear model with one output.
        path: npz to write: mean, std, w, w_raw (d,), b, b_raw ().
        more: Further arrays, such as ``classes`` (negative and positive class).
    """
    scaler, linear = model[0], model[-1]
    w, b = np.ravel(linear.coef_), float(np.ravel(linear.intercept_)[0])
    w_raw = w / scaler.scale_
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            mean=scaler.mean_,
            std=scaler.scale_,
            w=w,
            b=b,
            w_raw=w_raw,
            b_raw=b - w_raw @ scaler.mean_,
            **{name: np.array(value) for name, value in more.items()},
        )


def lda_projection(data: ProbeData, system: str = COMPARED) -> pd.DataFrame:
    """Linear discriminant projection of y_sem (Figure 5), fitted on training scans.

    Two classes give one discriminant axis, ``ld1``. Its covariance is shrunk (Ledoit and Wolf),
    because y_sem may have more dimensions than there are scans. ``ld2`` is the first principal
    component of the standardised y_sem after ``ld1`` is projected out; it only spreads the points.
    Only test scans show the separation of the classes, because the training scans were fitted.

    Returns:
        scan_id, participant_id, split, diagnosis, ld1, ld2.
    """
    training = data.table["split"].isin(TRAINING).to_numpy()
    y = StandardScaler().fit(data.features[system][training]).transform(data.features[system])
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=1)
    lda.fit(y[training], data.table.loc[training, "diagnosis"])
    axis = lda.scalings_[:, 0] / np.linalg.norm(lda.scalings_[:, 0])
    residual = y - np.outer(y @ axis, axis)
    pca = PCA(1, svd_solver="full").fit(residual[training])
    shown = data.table[["scan_id", "participant_id", "split", "diagnosis"]]
    return shown.assign(ld1=lda.transform(y)[:, 0], ld2=pca.transform(residual)[:, 0])
