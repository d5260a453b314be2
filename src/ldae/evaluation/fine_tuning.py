"""Fine-tuning: the diagnosis from few people, from scratch and from encoders that learnt before.

Every case is a training of the supervised network of section ``supervised``, with the people, the
start and the frozen parts that its name says, and the predictions of the frozen test split.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldae.config import AUTO
from ldae.data.datasets import labelled
from ldae.data.few_labels import rows_of_people
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.fine_tuning_cases import IMAGENET, LDAE, Case
from ldae.inference.supervised import predict_supervised
from ldae.training.settings import Settings
from ldae.training.stages import run

TARGET = "diagnosis"


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
