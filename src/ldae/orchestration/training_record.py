"""Training records: the settings and source that a training depends on, and their restoration.

``models/training/{training}.json`` below the results holds all that a training depends on besides
its input files. Its rule depends on the time of that file, so a changed setting trains the model
again. The model's card holds the same (key ``told``), so that a lost record costs no training.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ldae.dependencies import PREPROCESS_KEYS
from ldae.errors import require
from ldae.files import read_json, write_json
from ldae.fingerprint import source_fingerprint
from ldae.training.settings import model_settings, training_section

STAGES = ("autoencoder", "ldm", "ldae")
PUBLISHED = "published"  # in place of the three stages: the authors' weights, converted
FORM = ("spacing", "shape", "dtype")  # of the volumes that published weights are converted for
PREPROCESSING = ("n4", "brain_extraction", "registration")
ENCODING = ("inference.latents:encode_rows", "nets.autoencoder:build_autoencoder")
ABSENT = "nothing"


class Training(NamedTuple):
    """A training: the definition that builds it, and the sections it reads besides its own.

    Attributes:
        built_by: Entry for :func:`ldae.fingerprint.source_fingerprint`.
        latents: It reads the latents, and so depends on section ``latents``.
        diffusion: It reads section ``diffusion``.
        baseline: The entry of ``baselines`` that asks for it; empty for the three stages.
    """

    built_by: str
    latents: bool = False
    diffusion: bool = False
    baseline: str = ""


TRAININGS = {
    "autoencoder": Training("training.stages:autoencoder"),
    "ldm": Training("training.stages:ldm", latents=True, diffusion=True),
    "ldae": Training("training.stages:ldae", latents=True, diffusion=True),
    "ldae_slices": Training(
        "training.stages:ldae", latents=True, diffusion=True, baseline="ldae_slices"
    ),
    "dae": Training("training.stages:dae", diffusion=True, baseline="dae"),
    "supervised_diagnosis": Training("training.stages:supervised", baseline="supervised"),
    "supervised_age": Training("training.stages:supervised", baseline="supervised"),
}


def trainings(config: Mapping[str, Any], published: bool) -> list[str]:
    """Names of the trainings of a configuration, in order.

    Args:
        config: The whole configuration.
        published: Whether the authors' weights replace the three stages.
    """
    stages = () if published else STAGES
    baselines = [name for name, one in TRAININGS.items() if one.baseline in config["baselines"]]
    return [*stages, *baselines]


def training_inputs(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """All that a training depends on besides its input files: the content of its record.

    Args:
        name: A key of :data:`TRAININGS`, or :data:`PUBLISHED`.
        config: The whole configuration.
    """
    if name == PUBLISHED:
        form = {key: config["volumes"][key] for key in FORM}
        return {"volumes": form, "template": config["preprocess"]["template"]["name"]}
    training = TRAININGS[name]
    entries = (training.built_by, "training.loop:fit", "training.stages:save_trained")
    inputs = {
        "settings": model_settings(training_section(config, name)),
        "seed": config["seed"],
        "source": source_fingerprint(*entries),
        "data": _data(config),
    }
    if training.latents:
        inputs["latents"] = {key: config["latents"][key] for key in ("source", "variance")}
        inputs["encoding"] = source_fingerprint(*ENCODING)
    if training.diffusion:
        inputs["diffusion"] = config["diffusion"]
    return inputs


def _data(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that every scan depends on, and those of the splits.

    The source of the preprocessing is left out: the scans themselves show whether they have
    changed (:mod:`ldae.models.training_scans`).
    """
    steps = {
        step: {
            key: value
            for key, value in config["preprocess"][step].items()
            if key not in PREPROCESS_KEYS
        }
        for step in PREPROCESSING
    }
    splits = config["cohort"]["splits"]
    return {
        "volumes": config["volumes"],
        "template": config["preprocess"]["template"]["name"],
        **steps,
        "splits": {key: splits[key] for key in ("test_fraction", "val_fraction", "seed")},
        "source": source_fingerprint("data.volume_transform"),
    }


def is_forced(name: str, models: Iterable[str], asked: Iterable[str]) -> bool:
    """Whether the user forces a training, by its rule or by a file of one of its models.

    Args:
        name: Name of the training.
        models: Folders of its models.
        asked: Rules and files that the user forces.
    """
    folders = tuple(f"{folder}/" for folder in models)
    return any(item == name or item.startswith(folders) for item in map(str, asked))


def restore_training_records(
    config: Mapping[str, Any], results: str | Path, published: bool
) -> None:
    """Restore the lost records of all trainings, so that no model is trained again for that alone.

    Args:
        config: The whole configuration.
        results: The results folder.
        published: Whether the authors' weights replace the three stages.

    Raises:
        UserError: as :func:`restore_training_record`.
    """
    results = Path(results)
    names = trainings(config, published)
    for name in [PUBLISHED, *names] if published else names:
        model = STAGES[-1] if name == PUBLISHED else name
        latents = name in TRAININGS and TRAININGS[name].latents
        restore_training_record(
            training_inputs(name, config),
            results / "models/training" / f"{name}.json",
            results / "models" / model,
            ["volumes", *(["latents"] if latents else [])],
        )


def restore_training_record(
    inputs: dict[str, Any], record: str | Path, model: str | Path, stores: Iterable[str] = ()
) -> None:
    """Restore a lost training record from the model card, if settings and source still match.

    A lost file ``{store}.ready``, the empty mark that a store is there, is restored as well. Both
    get the time of the model's oldest file. Nothing happens if none is lost, or there is no model.

    Args:
        inputs: What the training depends on now (:func:`training_inputs`).
        record: ``models/training/{training}.json``.
        model: The model's folder.
        stores: Stores whose ``{store}.ready`` the training depends on, beside the record.

    Raises:
        UserError: the record is lost and the card has other inputs; names them.
    """
    record, model = Path(record), Path(model)
    if not (model / "model.json").is_file():
        return
    needed = [record, *(record.with_name(f"{store}.ready") for store in stores)]
    lost = [path for path in needed if not path.is_file()]
    if record in lost:
        then, now = read_json(model / "model.json").get("told"), json.loads(json.dumps(inputs))
        keys = _differing(then or {}, now)
        require(
            not keys,
            f"The training record {record} is missing, and by its card {model} was trained with "
            f"other settings or source than those of now: {', '.join(keys[:8])}. Restore them, or "
            f"copy the record there; to train the model again, delete {model}.",
        )
        write_json(now, record)
    # Otherwise Snakemake would take the model for outdated.
    oldest = min(path.stat().st_mtime_ns for path in model.iterdir() if path.is_file())
    for path in lost:
        path.touch()
        os.utime(path, ns=(oldest, oldest))


def _differing(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Names of the values in which two nested dicts differ, as ``data.volumes.spacing``."""
    found = []
    for key in sorted(then.keys() | now.keys()):
        pair = then.get(key, ABSENT), now.get(key, ABSENT)
        if all(isinstance(value, dict) for value in pair):
            found += _differing(*pair, f"{prefix}{key}.")
        elif pair[0] != pair[1]:
            found.append(f"{prefix}{key}")
    return found
