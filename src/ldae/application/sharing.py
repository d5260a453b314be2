"""Shared model: a folder as a model hub and MONAI's model zoo expect it, without any person's row.

Layout:

    README.md               card: YAML for the hub, then text
    LICENSE, NOTICE         terms of the weights, and of what comes from elsewhere
    configs/metadata.json   MONAI's description: versions, input and output of the encoder
    configs/inference.json  MONAI's configuration: the encoder, and a run that encodes scans
    models/                 a folder of models as ``results/models`` (:mod:`.bundle`)

The lists of training scans, which have thumbnails, sample pictures, histories and training records
of ``results/models`` are left out, and so are the keys of a model's card that are not in
:data:`CARD_KEYS`. Of the training scans' codes there is the distribution alone.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from ldae import __version__
from ldae.application.bundle import AGE, CARD, CLASSIFIER, TEMPLATE, TRAINING, Bundle
from ldae.errors import require
from ldae.evaluation.normative.curves import FILE as CURVES
from ldae.files import atomic_folder, read_json, sha256, write_json
from ldae.models.card import CITATION
from ldae.models.storage import CARD as MODEL_CARD
from ldae.models.storage import TENSORS, load_card
from ldae.orchestration.training_record import STAGES
from ldae.report.citations import printed
from ldae.report.model_card import INTENDED, NOT_INTENDED
from ldae.report.page import plain
from ldae.report.references import bibliography

CONFIGS, METADATA, INFERENCE = "configs", "metadata.json", "inference.json"
CARD_PAGE = "README.md"
APP = "ldae-workflow"  # name of this software in the metadata
PAGE_TEMPLATE = Path(__file__).with_name("shared_card.md.j2")
# Keys of a model's card that are shared: what it takes to load it, and what a reader asks.
CARD_KEYS = (
    "architecture",
    "autoencoder_sha256",
    "citation",
    "departures",
    "diffusion",
    "epoch",
    "epochs",
    "flags",
    "form",
    "kind",
    "latent_channels",
    "latent_scale",
    "latents_source",
    "latents_variance",
    "ldm_sha256",
    "metrics",
    "preconditioning",
    "published",
    "seed",
    "sha256",
    "steps",
    "versions",
    "y_dim",
)
COUNTS = ("train", "val", "subjects")  # numbers of the training scans that a card has
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
TASK = "image-feature-extraction"  # the hub's name for what an encoder does
TAGS = ("brain", "diffusion", "medical", "monai", "mri", "neuroimaging", "representation-learning")
METRICS = {"auroc": "roc_auc", "mae": "mae"}  # ours -> the hub's
PACKAGES = ("monai", "nibabel", "numpy", "safetensors", "timm", "torch")
TEMPLATE_NOTICE = (
    "models/application/template.nii.gz and template_mask.nii.gz: {name}, McConnell Brain Imaging "
    "Centre, Montreal Neurological Institute. Its own terms allow use, copies and changes with "
    "this notice."
)


@dataclass(frozen=True)
class Terms:
    """Licence of the weights.

    Attributes:
        identifier: SPDX identifier in lower case, or ``other``.
        text: The licence.
    """

    identifier: str
    text: str


def share(
    bundle: Bundle, out: str | Path, name: str, terms: Terms, repository: str = "ORG/NAME"
) -> dict[str, Any]:
    """Write the folder to share.

    Args:
        bundle: The models.
        out: Folder to write; an earlier one is replaced.
        name: Of the model, for its card.
        terms: Licence of the weights.
        repository: Where on a hub it will be, for the commands of the card.

    Returns:
        Names and SHA-256 of the files.

    Raises:
        UserError: a model is damaged, or ``out`` holds something else.
    """
    mark = Path(out, CONFIGS, METADATA)
    require(
        not mark.is_file() or APP in read_json(mark).get("supported_apps", {}),
        f"{out} is a bundle that this command did not write; name a new folder.",
    )
    require(
        not Path(out, ".git").exists(),
        f"{out} is a git clone: write to a new folder, and copy its files into the clone.",
    )
    with atomic_folder(out, f"{CONFIGS}/{METADATA}") as work:
        cards = _copy_models(bundle, work / "models")
        facts = _facts(bundle, cards, name, terms) | {"repository": repository}
        (work / CONFIGS).mkdir()
        write_json(_metadata(facts), work / CONFIGS / METADATA)
        write_json(_inference(), work / CONFIGS / INFERENCE)
        (work / "LICENSE").write_text(terms.text, encoding="utf-8")
        (work / "NOTICE").write_text(_notice(facts), encoding="utf-8")
        (work / CARD_PAGE).write_text(_page(facts), encoding="utf-8")
        paths = sorted(path for path in work.rglob("*") if path.is_file())
        return {str(path.relative_to(work)): sha256(path) for path in paths}


def _copy_models(bundle: Bundle, folder: Path) -> dict[str, dict[str, Any]]:
    """Copy weights, probes and template; returns the shared part of each model's card."""
    cards = {}
    for stage in STAGES:
        card, tensors = load_card(bundle.models / stage), bundle.models / stage / TENSORS
        require(
            tensors.is_file() and sha256(tensors) == card["sha256"],
            f"{tensors} is missing, or is not the file its card was written for: copy the folder "
            "of the models as a whole, or train again.",
        )
        shared = {key: plain(card[key]) for key in CARD_KEYS if key in card}
        if "scans" in card:
            shared["scans"] = {key: card["scans"][key] for key in COUNTS}
        (folder / stage).mkdir(parents=True)
        shutil.copyfile(tensors, folder / stage / TENSORS)
        write_json(shared, folder / stage / MODEL_CARD)
        cards[stage] = shared
    application = folder / bundle.folder.name
    application.mkdir()
    optional = [file for file in (CURVES,) if (bundle.folder / file).is_file()]
    for file in (CLASSIFIER, AGE, TRAINING, *TEMPLATE.values(), *optional):
        shutil.copyfile(bundle.folder / file, application / file)
    write_json(plain(read_json(bundle.folder / CARD)), application / CARD)
    return cards


def _facts(
    bundle: Bundle, cards: Mapping[str, Mapping[str, Any]], name: str, terms: Terms
) -> dict[str, Any]:
    """What card and metadata say of the models."""
    settings = bundle.settings
    return {
        "name": name,
        "licence": terms.identifier,
        "notice": bundle.notice,
        "settings": settings,
        "synthetic": settings["synthetic"],
        "shape": [int(n) for n in settings["volumes"]["shape"]],
        "spacing": settings["volumes"]["spacing"],
        "space": settings["preprocess"]["template"]["name"],
        "method": settings["preprocess"]["brain_extraction"]["method"],
        "dimensions": len(bundle.training.mean),
        "performance": settings["performance"],
        "cards": cards,
        "published": [stage for stage, card in cards.items() if card.get("published")],
        "flags": _distinct(flag for card in cards.values() for flag in card.get("flags", [])),
        "departures": _distinct(one for card in cards.values() for one in card["departures"]),
        "intended": INTENDED,
        "not_intended": NOT_INTENDED,
        "citation": CITATION,
        "paper": printed(bibliography().entries["lozupone2026"]),
        "code": f"{APP} {__version__}",
    }


def _distinct(texts: Any) -> list[str]:
    return list(dict.fromkeys(texts))


def _page(facts: Mapping[str, Any]) -> str:
    """Card of the model: YAML that the hub reads, then Markdown."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="image-classification" if target == "diagnosis" else "tabular-regression",
            task_name=f"{target}, linear probe of y_sem",
            dataset_type="synthetic" if facts["synthetic"] else "private",
            dataset_name=f"test subjects ({found['n_subjects']})"
            if "n_subjects" in found
            else "test subjects",
            metric_type=METRICS[found["metric"]],
            metric_value=found["value"],
        )
        for target, found in facts["performance"].items()
    ]
    about = ModelCardData(
        license=facts["licence"],
        library_name=APP,
        pipeline_tag=TASK,
        tags=list(TAGS),
        model_name=facts["name"],
        eval_results=results or None,
    )
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    text = environment.from_string(PAGE_TEMPLATE.read_text()).render(**facts)
    return f"---\n{about.to_yaml().strip()}\n---\n\n{text}"


def _notice(facts: Mapping[str, Any]) -> str:
    lines = [f"{facts['name']}: models made by {facts['code']}", "", facts["notice"], ""]
    lines.append(TEMPLATE_NOTICE.format(name=facts["space"]))
    if facts["published"]:
        lines.append(
            f"Weights of {', '.join(facts['published'])}: published by the authors of the paper, "
            "converted. Their terms hold."
        )
    return "\n".join(lines) + "\n"


def _metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Content of metadata.json, by MONAI's specification of bundles."""
    versions = {name: version(name) for name in PACKAGES}
    return {
        "schema": SCHEMA,
        "version": __version__,
        "changelog": {__version__: f"written by {facts['code']}"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "required_packages_version": {
            name: versions[name] for name in ("nibabel", "safetensors", "timm")
        },
        "supported_apps": {APP: __version__},
        "name": facts["name"],
        "task": "Representation of T1-weighted brain MRI: semantic codes, and images decoded",
        "description": "Latent diffusion autoencoder: an autoencoder, a latent diffusion model, "
        "and a semantic encoder with a gradient estimator.",
        "authors": "The contributors of this model; method: Lozupone et al. 2026",
        "copyright": "See LICENSE and NOTICE",
        "data_source": "synthetic brains" if facts["synthetic"] else "not part of the bundle",
        "data_type": "nifti",
        "image_classes": "brain-extracted T1w in template space, intensities in [0, 1]",
        "eval_metrics": {
            f"{target}_{found['metric']}": found["value"]
            for target, found in facts["performance"].items()
        },
        "intended_use": f"Research. {facts['notice']}",
        "references": [facts["paper"]],
        "network_data_format": {
            "inputs": {
                "image": _tensor(
                    ("image", "magnitude", "MR"),
                    (1, facts["shape"], [0, 1]),
                    ["T1-weighted brain"],
                )
            },
            "outputs": {
                "pred": _tensor(
                    ("tuples", "latent", "n/a"),
                    (facts["dimensions"], [], []),
                    [f"y_sem, all {facts['dimensions']} numbers"],
                )
            },
        },
    }


def _tensor(
    kind: tuple[str, str, str], size: tuple[int, list[int], list[int]], channels: Sequence[str]
) -> dict[str, Any]:
    """Specification of a tensor: (type, format, modality), (channels, shape, range), meaning."""
    return {
        **dict(zip(("type", "format", "modality"), kind, strict=True)),
        **dict(zip(("num_channels", "spatial_shape", "value_range"), size, strict=True)),
        "dtype": "float32",
        "is_patch_data": False,
        "channel_def": {str(number): text for number, text in enumerate(channels)},
    }


def _inference() -> dict[str, Any]:
    """Content of inference.json: the encoder, and a run of ``python -m monai.bundle run``."""
    return {
        "imports": [
            "$from ldae.cli.main import main",
            "$from ldae.models.loading import load_encoder",
        ],
        "bundle_root": ".",
        "scans": [],
        "out": "codes.npz",
        "network_def": "$load_encoder(@bundle_root + '/models/ldae')[0]",
        "run": ["$main(['encode', *@scans, '--model', @bundle_root, '--out', @out])"],
    }
