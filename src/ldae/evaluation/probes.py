"""Linear probes of frozen embeddings: AD against CN, and age (section 4.2, Table 7, Figure 5)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ldae.errors import UserError
from ldae.evaluation.bootstrap import ClusterBootstrap, Statistic, minus
from ldae.evaluation.features import TEST, TRAINING, ProbeData, load_probe_data
from ldae.evaluation.linear import fit_classifier, fit_regressor, penalty_of
from ldae.evaluation.paper import probe_value
from ldae.evaluation.scores import auroc, average_precision, confusion_score, error_score
from ldae.files import atomic, write_table

COMPARED = "ldae"


def evaluate_probes(
    embeddings: dict[str, str | Path],
    latents: str | Path,
    out_dir: str | Path,
    table: str | Path,
    differences: str | Path,
    cfg: dict[str, Any],
    seed: int,
) -> None:
    """Fit all probes on training subjects, score them on test subjects, and write the results.

    Probes are fitted on the splits ``train`` and ``val`` (both unseen as labels by the encoder)
    and scored on ``test``. Diagnosis uses the scans of ``probes.classes``, age the scans of every
    diagnosis; only scans with known age and sex count, so all systems see the same scans.

    Args:
        embeddings: ``{"ldae": path, "untrained": path}``.
        latents: Folder of the latent store: scans, splits, and the baseline ``latents_pca``.
        out_dir: Receives ``predictions_diagnosis.tsv``, ``predictions_age.tsv``,
            ``classifier.npz`` (direction for the manipulation), ``age_regressor.npz`` and
            ``lda_projection.tsv``.
        table: Scores: target, system, metric, value, ci_low, ci_high, n_scans, n_subjects,
            n_positive, penalty, paper, paper_source.
        differences: Paired differences of the LDAE with the other systems, same resamples.
        cfg: Section ``evaluation`` of the config (``probes``, ``bootstrap``).
        seed: Of folds, PCA and resamples.

    Raises:
        UserError: subjects shared by splits, an embedding or a class missing.
    """
    out_dir = Path(out_dir)
    data = load_probe_data(latents, embeddings, seed)
    negative, positive = cfg["probes"]["classes"]
    diagnosis = data.where(data.table["diagnosis"].isin([negative, positive]).to_numpy())
    for part in (TRAINING, (TEST,)):
        require_classes(diagnosis.table, part, (negative, positive))

    classifiers, predicted_class = probe_diagnosis(diagnosis, positive, cfg["probes"], seed)
    regressors, predicted_age = probe_age(data, cfg["probes"])
    rows, gaps = [], []
    for target, predictions in (("diagnosis", predicted_class), ("age", predicted_age)):
        found = score_table(target, predictions, (negative, positive), cfg["bootstrap"], seed)
        rows += found[0]
        gaps += found[1]
    write_table(predicted_class, out_dir / "predictions_diagnosis.tsv")
    write_table(predicted_age, out_dir / "predictions_age.tsv")
    save_linear(classifiers[COMPARED], out_dir / "classifier.npz", classes=[negative, positive])
    save_linear(regressors[COMPARED], out_dir / "age_regressor.npz")
    write_table(lda_projection(diagnosis), out_dir / "lda_projection.tsv")
    write_table(pd.DataFrame(gaps), differences)
    write_table(pd.DataFrame(rows), table)


def require_classes(table: pd.DataFrame, splits: tuple[str, ...], classes: tuple[str, str]) -> None:
    """Refuse splits in which one of the classes has no scan."""
    found = set(table.loc[table["split"].isin(splits), "diagnosis"])
    lacking = [name for name in classes if name not in found]
    if lacking:
        raise UserError(
            f"No scan of the split(s) {', '.join(splits)} has the diagnosis {lacking[0]}; the "
            "diagnosis probe cannot be fitted or tested. Use more subjects, another "
            "cohort.splits.seed or larger test_fraction, or other evaluation.probes.classes."
        )


def _frame(data: ProbeData, system: str, penalty: float, **columns: np.ndarray) -> pd.DataFrame:
    test = data.where((data.table["split"] == TEST).to_numpy()).table
    shown = test[["scan_id", "participant_id", "diagnosis"]].assign(**columns)
    shown.insert(0, "system", system)
    return shown.assign(penalty=penalty)


def _halves(data: ProbeData, system: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    training = data.table["split"].isin(TRAINING).to_numpy()
    test = (data.table["split"] == TEST).to_numpy()
    return data.features[system][training], data.features[system][test], training


def probe_diagnosis(
    data: ProbeData, positive: str, cfg: dict[str, Any], seed: int
) -> tuple[dict[str, Pipeline], pd.DataFrame]:
    """Fitted classifiers by system, and their test predictions.

    Columns of the predictions: system, scan_id, participant_id, diagnosis, predicted, probability
    (of the positive class), penalty.
    """
    negative = next(name for name in cfg["classes"] if name != positive)
    models, frames = {}, []
    for system in data.features:
        x_train, x_test, training = _halves(data, system)
        known = data.table[training]
        truth = (known["diagnosis"] == positive).to_numpy()
        model = fit_classifier(x_train, truth, known["participant_id"], cfg["cv_folds"], seed)
        probability = model.predict_proba(x_test)[:, 1]
        predicted = np.where(probability >= 0.5, positive, negative)
        models[system] = model
        frames.append(
            _frame(data, system, penalty_of(model), predicted=predicted, probability=probability)
        )
    return models, pd.concat(frames, ignore_index=True)


def probe_age(data: ProbeData, cfg: dict[str, Any]) -> tuple[dict[str, Pipeline], pd.DataFrame]:
    """Fitted regressors of age in years by system, and their test predictions.

    Columns of the predictions: system, scan_id, participant_id, age, predicted, penalty. Baselines
    are the sex alone and the mean age of the training scans.
    """
    sex = data.features["age_sex"][:, 1:]
    features = {k: v for k, v in data.features.items() if k != "age_sex"} | {"sex": sex}
    data = ProbeData(data.table, features)
    test = (data.table["split"] == TEST).to_numpy()
    truth = data.table["age"].to_numpy()
    models, frames = {}, []
    for system in features:
        x_train, x_test, training = _halves(data, system)
        groups = data.table.loc[training, "participant_id"]
        model = fit_regressor(x_train, truth[training], groups, cfg["cv_folds"])
        models[system] = model
        frames.append(
            _frame(
                data, system, penalty_of(model), age=truth[test], predicted=model.predict(x_test)
            )
        )
    mean = np.full(int(test.sum()), truth[training].mean())
    frames.append(_frame(data, "mean_age", np.nan, age=truth[test], predicted=mean))
    return models, pd.concat(frames, ignore_index=True)


def _statistics(target: str, frame: pd.DataFrame, classes: tuple[str, str]) -> dict[str, Statistic]:
    if target == "age":
        return {
            name: error_score(name, frame["age"].to_numpy(), frame["predicted"].to_numpy())
            for name in ("mae", "rmse", "r2")
        }
    truth, predicted = frame["diagnosis"].to_numpy(), frame["predicted"].to_numpy()
    positive = classes[1]
    scores = {
        name: confusion_score(name, truth == positive, predicted == positive)
        for name in ("accuracy", "balanced_accuracy", "mcc", "sensitivity", "specificity")
    }
    for one in classes[::-1]:
        for name in ("precision", "recall", "f1"):
            key = f"{name}_{one.lower()}"
            scores[key] = confusion_score(name, truth == one, predicted == one)
    probability = frame["probability"].to_numpy()
    scores["auroc"] = auroc(truth == positive, probability)
    scores["average_precision"] = average_precision(truth == positive, probability)
    return scores


def score_table(
    target: str, predictions: pd.DataFrame, classes: tuple[str, str], resamples: int, seed: int
) -> tuple[list[dict], list[dict]]:
    """Rows of the score table and of the paired differences for one target."""
    frames = {name: part.reset_index(drop=True) for name, part in predictions.groupby("system")}
    first = frames[COMPARED]
    bootstrap = ClusterBootstrap(first["participant_id"], resamples, seed)
    size = {"n_scans": bootstrap.size, "n_subjects": bootstrap.clusters}
    positives = int((first["diagnosis"] == classes[1]).sum()) if target == "diagnosis" else np.nan
    rows, gaps = [], []
    for system in predictions["system"].unique():
        frame = frames[system]
        if not frame["scan_id"].equals(first["scan_id"]):
            raise ValueError(f"the predictions of {system} are not for the scans of {COMPARED}")
        scores = _statistics(target, frame, classes)
        for metric, statistic in scores.items():
            paper, source = probe_value(target, metric) if system == COMPARED else (np.nan, None)
            rows.append(
                {"target": target, "system": system, "metric": metric}
                | bootstrap.interval(statistic).row("value")
                | size
                | {"n_positive": positives, "penalty": frame["penalty"].iloc[0]}
                | {"paper": paper, "paper_source": source}
            )
        if system == COMPARED:
            continue
        ours = _statistics(target, first, classes)
        for metric, statistic in scores.items():
            gaps.append(
                {"target": target, "system": COMPARED, "reference": system, "metric": metric}
                | bootstrap.interval(minus(ours[metric], statistic)).row("difference")
                | size
            )
    return rows, gaps


def save_linear(model: Pipeline, path: str | Path, **more: Any) -> None:
    """A linear model of y_sem: output = w . (y - mean)/std + b = w_raw . y + b_raw.

    The output is the logit of the positive class, or the age in years. Arrays: mean, std, w, w_raw
    (d,), b, b_raw (); ``more`` is kept beside (``classes``: negative and positive class).
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

    Two classes give one discriminant axis, ``ld1`` (covariance shrunk after Ledoit and Wolf, since
    y_sem may have more dimensions than there are scans). ``ld2`` is the first principal component
    of the standardised y_sem after the direction of ``ld1`` is projected out; it is shown only to
    spread the points. Training scans are fitted, so only test scans show how well classes separate.

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
