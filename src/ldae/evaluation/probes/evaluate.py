"""Linear probes of frozen embeddings for one target, and the tables of all targets.

Section 4.2, Table 7, Figure 5. All probes are fitted on training subjects and scored on test
subjects. Diagnosis and age are targets like those that the user names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from ldae.errors import UserError
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData, load_probe_data
from ldae.evaluation.probes.joined_table import join_table, scan_dates
from ldae.evaluation.probes.labels import Labels, labels_of, require_configured_values
from ldae.evaluation.probes.linear import save_linear
from ldae.evaluation.probes.projection import lda_projection
from ldae.evaluation.probes.scores import COMPARED, Drawn, absent_row, score_table
from ldae.evaluation.probes.splits import split_rows
from ldae.evaluation.probes.summary import SUMMARY, absent_summary, summarise
from ldae.evaluation.probes.target_table import (
    AGE,
    BINARY,
    CONTINUOUS,
    DIAGNOSIS,
    NONE,
    ORDINAL,
    PAPER,
    SURVIVAL,
    Target,
    make_target,
)
from ldae.evaluation.probes.targets import paper_probes, regularised
from ldae.files import read_table, write_table

DIGITS = 12  # of stored predictions; with fewer, scores of weak probes would tie
VISITS = ("participant_id", "months", "diagnosis")


@dataclass(frozen=True)
class Sources:
    """Files that a target's job reads.

    Attributes:
        embeddings: System to its embeddings file: ``{"ldae": path, "untrained": path, ...}``.
        latents: Folder of the latent store: scans, splits, and the baseline ``latents_pca``.
        volumes: TSV of tissue volumes of every scan, the baseline ``volumes``.
        visits: TSV of every known visit (scans.tsv): participant_id, months, diagnosis; with
            scan_id its other columns may be targets too.
        pca: File of :func:`ldae.evaluation.probes.features.write_latents_pca`; None: it is
            computed.
        oracle: TSV of true volumes of every scan of a synthetic cohort, the baseline ``oracle``.
        predictions: Files of test predictions by other models (the supervised encoder). Columns as
            in ``predictions_<target>.tsv``; probe, seed, penalty and corrected may be absent.
        table: The table that the target names; None: the cohort's columns.
        images: List of ADNI's scans with their dates (MPRAGEMETA.csv); None: dates are not known.
    """

    embeddings: Mapping[str, str | Path]
    latents: str | Path
    volumes: str | Path
    visits: str | Path
    pca: str | Path | None = None
    oracle: str | Path | None = None
    predictions: Iterable[str | Path] = ()
    table: str | Path | None = None
    images: str | Path | None = None


def evaluate_target(
    name: str,
    about: Mapping[str, Any],
    sources: Sources,
    out: Mapping[str, str | Path],
    cfg: Mapping[str, Any],
    seed: int,
) -> None:
    """Fit a target's probes on training subjects, score them on test subjects, write the results.

    Regularised probes are fitted on the splits ``train`` and ``val``, whose labels the encoder was
    not trained on. The paper's probes are fitted on 70 % of the subjects of ``train``. All probes
    are scored on ``test``. Only scans with known age and sex are included, so all systems get the
    same scans. A target with too few subjects has one row without a value, and its note gives the
    reason.

    Args:
        name, about: A key of ``evaluation.targets`` and its entry.
        sources: Files to read.
        out: Files to write, by what they hold:

            - ``predictions``: as :mod:`ldae.evaluation.probes.targets` says;
            - ``scores``: target, probe, system, metric, value, ci_low, ci_high, n_scans,
              n_subjects, n_positive, penalty, n_seeds, seed_sd, paper, paper_source, note;
            - ``differences``: paired differences of the LDAE with the other systems on the same
              resamples: target, probe, system, reference, metric, difference, ci_low, ci_high, p,
              p_holm (corrected for the number of systems), n_scans, n_subjects;
            - ``summary``, ``contrasts``, ``calibration``: see
              :func:`ldae.evaluation.probes.summary.summarise`;
            - ``model`` (of diagnosis and age): npz of the LDAE's probe, a direction of the
              manipulation;
            - ``projection`` (of the diagnosis): TSV of Figure 5.
        cfg: Keys ``probes``, ``bootstrap`` and ``target_splits`` of section ``evaluation``.
        seed: Seed of folds, PCA and resamples.

    Raises:
        UserError: splits share subjects, an embedding, a class or a column is missing, or
            predictions are for other scans.
    """
    target = make_target(name, about)
    tables = {"volumes": sources.volumes} | ({"oracle": sources.oracle} if sources.oracle else {})
    data = load_probe_data(sources.latents, dict(sources.embeddings), seed, tables, pca=sources.pca)
    labels = read_labels(target, data, sources)
    part = data.where(labels.known)
    note = refusal(target, part, labels, cfg["probes"]["min_subjects"])
    if note:
        absent = part.table[part.table["split"] == TEST]
        rows, gaps = [absent_row(target, absent, note)], []
        predicted = pd.DataFrame(columns=["probe", "system", "seed", "scan_id"])
        more = absent_summary(target, absent, note)
    else:
        models, predicted = predict_target(target, part, labels, cfg["probes"], seed)
        others = [read_predictions(path) for path in sources.predictions]
        predicted = pd.concat([predicted, *others], ignore_index=True)
        drawn = Drawn.of(target, predicted, labels.classes, cfg["bootstrap"], seed)
        rows, gaps = score_table(drawn)
        people = part.table.loc[part.table["split"].isin(TRAINING), "participant_id"].nunique()
        more = summarise(drawn, people)
        more["summary"] += split_rows(target, part, labels, cfg, seed)
        predicted = predicted.astype({"seed": "Int64"})
        if "model" in out:
            named = {"classes": list(labels.classes)} if target.kind == BINARY else {}
            save_linear(models[COMPARED], out["model"], **named)
        if "projection" in out:
            write_table(lda_projection(part), out["projection"])
    write_table(predicted, out["predictions"], DIGITS)
    for key, columns in SUMMARY.items():
        write_table(pd.DataFrame(more[key], columns=columns), out[key])
    write_table(pd.DataFrame(gaps, columns=GAPS), out["differences"])
    write_table(pd.DataFrame(rows).astype({"n_positive": "Int64"}), out["scores"])


GAPS = [
    "target", "probe", "system", "reference", "metric", "difference", "ci_low", "ci_high", "p",
    "p_holm", "n_scans", "n_subjects",
]  # fmt: skip


def read_labels(target: Target, data: ProbeData, sources: Sources) -> Labels:
    """Labels of all scans of ``data``, from the cohort's columns, its visits or another table."""
    visits = read_table(sources.visits, VISITS)
    scans = with_columns(data.table, visits)
    joined = None
    if sources.table:
        dates = scan_dates(sources.images, scans) if sources.images and target.date else None
        joined = join_table(target, sources.table, scans, dates)
    labels = labels_of(target, scans, visits, joined)
    require_configured_values(target, scans if joined is None else joined)
    return labels


def with_columns(table: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    """Scans with the columns of scans.tsv that the store's index lacks, if ``visits`` has them."""
    if "scan_id" not in visits:
        return table
    more = [name for name in visits if name not in table]
    return table.merge(visits[["scan_id", *more]], on="scan_id", how="left")


def predict_target(
    target: Target, part: ProbeData, labels: Labels, settings: dict[str, Any], seed: int
) -> tuple[dict[str, Pipeline], pd.DataFrame]:
    """The regularised models by system, and the test predictions of all probes of a target."""
    models, predicted = regularised(target, part, labels.values, labels.classes, settings, seed)
    if PAPER in target.probes:
        own = paper_probes(target, part, labels.values, labels.classes, settings)
        predicted = pd.concat([predicted, own], ignore_index=True)
    return models, predicted


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read test predictions of a model that is not a probe; absent columns are filled."""
    found = read_table(path, ("system", "scan_id", "participant_id", "predicted"))
    absent = {"probe": NONE, "seed": np.nan, "penalty": np.nan, "corrected": np.nan}
    return found.assign(**{name: value for name, value in absent.items() if name not in found})


def refusal(target: Target, part: ProbeData, labels: Labels, least: int) -> str | None:
    """Why a target cannot be probed, None if it can.

    Args:
        target: What to predict.
        part: The scans with a label.
        labels: Their labels.
        least: ``evaluation.probes.min_subjects``.

    Raises:
        UserError: it cannot be probed, and the manipulation needs its probe.
    """
    table = part.table
    if target.name == DIAGNOSIS:
        for splits in (TRAINING, (TEST,)):
            require_classes(table, splits, labels.classes)
        return None
    if target.name == AGE:
        return None
    if target.kind in (CONTINUOUS, ORDINAL):
        training = table["split"].isin(TRAINING).to_numpy()
        if len(np.unique(labels.values[training])) < 2:
            return "all training scans have the same value, or none has one"
        return too_few(table, np.full(len(table), "people"), ("people",), least)
    classes = labels.classes[1:] if target.kind == SURVIVAL else labels.classes
    return too_few(table, labels.in_words(), classes, least)


def too_few(table: pd.DataFrame, labels: np.ndarray, classes: Iterable, least: int) -> str | None:
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


def require_classes(table: pd.DataFrame, splits: tuple[str, ...], classes: tuple) -> None:
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
            "cohort.splits.seed or larger test_fraction, or other classes of "
            "evaluation.targets.diagnosis."
        )
