"""Fine-tuning: the diagnosis from few people, from scratch and from encoders that learnt before.

Every case is a training of the supervised network of section ``supervised``, with the people, the
start and the frozen parts that its name says, and the predictions of the frozen test split.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.config import AUTO
from ldae.data.datasets import labelled
from ldae.data.few_labels import rows_of_people
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.evaluation.fine_tuning_cases import IMAGENET, LDAE, SCRATCH, WHOLE, Case
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Draws, holm
from ldae.evaluation.metrics.classification import auroc
from ldae.files import read_table, write_table
from ldae.inference.supervised import predict_supervised
from ldae.models.storage import load_card
from ldae.seeds import derive_seed
from ldae.training.settings import Settings
from ldae.training.stages import run

TARGET = "diagnosis"
PREDICTED = ("scan_id", "participant_id", "diagnosis", "probability")
METRIC = "auroc"


def few_label_section(
    case: Case, section: Mapping[str, Any], about: Mapping[str, Any], scans: int
) -> dict[str, Any]:
    """Settings of a case's training: section ``supervised`` with those of the experiment.

    A training takes the section's epochs, and at least ``least_steps`` steps. A batch, and a
    micro-batch, is not larger than there are scans. One process trains.

    Args:
        case: The case.
        section: Section ``supervised`` with ``encoder`` and ``classes``
            (:func:`ldae.training.settings.training_section`).
        about: Section ``evaluation.fine_tuning``.
        scans: Number of scans that are learnt from.
    """
    asked = section["micro_batch"]
    micro = 1 if asked == AUTO else max(1, min(asked, scans))
    batch = min(section["batch_size"], max(1, scans // micro) * micro)
    epochs = max(section["epochs"], math.ceil(about["least_steps"] * batch / max(scans, 1)))
    encoder = dict(section["encoder"])
    if case.start != IMAGENET:
        encoder["pretrained"] = None
    return {
        **section,
        "encoder": encoder,
        "batch_size": batch,
        "micro_batch": asked if asked == AUTO else micro,
        "epochs": epochs,
        "processes": 1,
        "sample_every": 0,
        "validate_every": epochs,
        "start": case.start,
        "trainable": case.trainable,
        "people": case.people,
        "head_learning_rate": about["head_learning_rate"],
    }


def fine_tune(
    case: Case,
    inputs: Mapping[str, str | Path],
    outputs: Mapping[str, str | Path],
    section: Mapping[str, Any],
    about: Mapping[str, Any],
    seed: int,
    batch_size: int | str,
    log_file: str | Path | None = None,
    **machine: Any,
) -> None:
    """Train a case and predict the test split.

    Args:
        case: The case.
        inputs: Folders of ``volumes`` (the store) and ``ldae`` (the model; read if it starts from
            it).
        outputs: Folders ``model`` and ``run`` (checkpoints), and the table ``predictions``.
        section, about: As :func:`few_label_section`.
        seed: Of people, weights and order.
        batch_size: Test scans predicted at once, or ``auto``.
        log_file: File to which processes started here append their log.
        machine: Further fields of :class:`ldae.training.settings.Settings`.

    Raises:
        UserError: a class has no training scan, or the model does not fit (see
            :func:`ldae.training.stages.fine_tuning`).
    """
    store = VolumeStore(inputs["volumes"])
    rows = store.rows("train")
    rows = rows[labelled(store.index, TARGET, list(section["classes"]))[rows]]
    rows = rows_of_people(store.index, rows, section["classes"], case.people, seed)
    read = ("volumes", "ldae") if case.start == LDAE else ("volumes",)
    settings = Settings(
        stage="fine_tuning",
        inputs={name: str(inputs[name]) for name in read},
        out_dir=str(outputs["model"]),
        run_dir=str(outputs["run"]),
        cfg=few_label_section(case, section, about, len(rows)),
        seed=seed,
        **machine,
    )
    run(settings, log_file=log_file)
    predict_supervised(
        inputs["volumes"],
        outputs["model"],
        outputs["predictions"],
        settings.device,
        settings.threads,
        batch_size,
    )


def write_fine_tuning_table(
    predictions: Mapping[str, str | Path],
    models: Mapping[str, str | Path],
    classes: Sequence[str],
    out: str | Path,
    resamples: int,
    seed: int,
) -> None:
    """Write AUROC by case with 95 % intervals over test subjects, and gains on scratch.

    Columns: start, trainable, people (of each class, as asked), train_subjects, train_scans,
    metric, value, ci_low, ci_high, gain, gain_low, gain_high (paired difference from ``scratch``
    with the same people), p (two-sided), p_holm (over all cases), n_scans, n_subjects (of the
    test). Without a case from scratch the gains are n/a.

    Args:
        predictions: Tables of :func:`fine_tune` by the name of the case, in the table's order.
        models: Model folders by the same names.
        classes: Negative and positive class.
        out: The table.
        resamples: Of the bootstrap over subjects.
        seed: Of the resamples.

    Raises:
        UserError: the cases predict different scans.
    """
    frames = {name: read_table(path, PREDICTED) for name, path in predictions.items()}
    first = next(iter(frames.values()))
    boot = ClusterBootstrap(
        first["participant_id"], resamples, derive_seed(seed, "fine_tuning", "resamples")
    )
    drawn: dict[Case, Draws] = {}
    for name, frame in frames.items():
        require(
            frame["scan_id"].tolist() == first["scan_id"].tolist(),
            f"{predictions[name]} predicts other scans than the first case; run it again: "
            "`snakemake --forcerun fine_tune`.",
        )
        truth = (frame["diagnosis"] == classes[1]).to_numpy()
        drawn[Case.of(name)] = boot.draws(auroc(truth, frame["probability"].to_numpy(float)))
    rows = []
    for case, draws in drawn.items():
        learnt = load_card(models[case.name])["learnt_from"]
        rows.append(
            {
                **case._asdict(),
                "train_subjects": learnt["people"],
                "train_scans": learnt["scans"],
                "metric": METRIC,
                **draws.interval().row("value"),
                **_gain(draws, None if case.start == SCRATCH else drawn.get(_scratch(case))),
                **boot.counts,
            }
        )
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"]))
    write_table(table, out)


def _scratch(case: Case) -> Case:
    return Case(SCRATCH, WHOLE, case.people)


def _gain(draws: Draws, scratch: Draws | None) -> dict[str, float]:
    """Columns of the paired difference from scratch; nan where there is none."""
    if scratch is None:
        return dict.fromkeys(("gain", "gain_low", "gain_high", "p"), np.nan)
    gain = draws - scratch
    found = gain.interval()
    limits = {"gain": found.estimate, "gain_low": found.low, "gain_high": found.high}
    return limits | {"p": gain.two_sided_p()}
