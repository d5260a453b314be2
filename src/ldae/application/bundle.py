"""Application bundle: the folder with the grid, probes and preprocessing beside the models.

Layout of ``results/models/application``: ``application.json`` (settings, the probes' performance on
test subjects, and the SHA-256 of the models they belong to and of the template's files),
``classifier.npz`` and ``age_regressor.npz`` (linear probes of y_sem), ``training.npz``
(:class:`ldae.application.training_codes.TrainingCodes`), ``template.nii.gz`` and
``template_mask.nii.gz``. The folder of models may be copied anywhere. It does not hold the weights
of the brain extraction.

Networks and probes are imported where they are loaded: to write a bundle takes no torch, and a
command imports only what it uses.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldae.application.training_codes import TrainingCodes
from ldae.errors import require
from ldae.files import atomic, digest, read_json, sha256, write_json
from ldae.models.storage import load_card
from ldae.orchestration.training_record import STAGES

if TYPE_CHECKING:
    import pandas as pd

    from ldae.application.volume_check import TemplateCheck
    from ldae.compute import Compute
    from ldae.evaluation.probes.direction import Direction, LinearModel
    from ldae.inference.ldae_system import LdaeSystem
    from ldae.nets.semantic_encoder import SemanticEncoder

NOTICE = "A research model's output, not a medical finding."
SYNTHETIC = (
    "The models have seen no patient: they were trained on synthetic brains alone. Their numbers "
    "say nothing about a person."
)
CARD = "application.json"
CLASSIFIER, AGE, TRAINING = "classifier.npz", "age_regressor.npz", "training.npz"
PERFORMANCE = {"diagnosis": "auroc", "age": "mae"}
TEMPLATE = {"image": "template.nii.gz", "mask": "template_mask.nii.gz"}


def write_bundle(
    folder: str | Path,
    models: Mapping[str, str | Path],
    classifier: str | Path,
    age_regressor: str | Path,
    training: TrainingCodes,
    settings: Mapping[str, Any],
) -> None:
    """Write the bundle.

    Args:
        folder: Folder to write, ``application`` beside the model folders.
        models: Model folder of each of the LDAE's stages.
        classifier, age_regressor: Files (npz) of the probes.
        training: Distribution of the training scans' codes.
        settings: ``preprocess``, ``volumes`` (config sections), ``affine`` of the volumes (4, 4),
            ``guidance``, ``ddim_steps``, ``solver``, ``mode``, ``alpha``, ``performance``
            (:func:`performance`) and ``synthetic``: whether all scans that the models were trained
            on are synthetic. The template that ``preprocess`` names is copied.
    """
    folder = Path(folder)
    template = settings["preprocess"]["template"]
    copied = {name: template[key] for key, name in TEMPLATE.items()}
    for name, source in {CLASSIFIER: classifier, AGE: age_regressor, **copied}.items():
        with atomic(folder / name) as temporary:
            shutil.copyfile(source, temporary)
    training.save(folder / TRAINING)
    hashes = {stage: load_card(models[stage])["sha256"] for stage in STAGES}
    content = {**settings, "preprocess": {**settings["preprocess"]}}
    content["preprocess"]["template"] = {**TEMPLATE, "name": template["name"]}
    files = {name: sha256(folder / name) for name in copied}
    write_json({"models": hashes, "files": files, **content}, folder / CARD)


def performance(probes: "pd.DataFrame") -> dict[str, dict[str, Any]]:
    """How well the bundle's probes read test subjects: by target, metric, value and interval.

    Args:
        probes: Table of the probes (``tables/probes.tsv``).

    Returns:
        ``diagnosis`` (AUROC) and ``age`` (mean absolute error, years), where the table has them:
        metric, value, ci_low, ci_high, n_subjects.
    """
    rows = probes[(probes["system"] == "ldae") & (probes["probe"] == "regularised")]
    rows = rows.set_index(["target", "metric"])
    found = {}
    for target, metric in PERFORMANCE.items():
        if (target, metric) in rows.index:
            row = rows.loc[(target, metric)]
            values = {key: round(float(row[key]), 2) for key in ("value", "ci_low", "ci_high")}
            found[target] = {"metric": metric, **values, "n_subjects": int(row["n_subjects"])}
    return found


@dataclass(frozen=True)
class Bundle:
    """Settings and probes (see :func:`write_bundle`), and the models, loaded at first use.

    Attributes:
        models: Folder of the models.
        settings: Content of ``application.json``.
        compute: Device, threads and the precision of the semantic encoder.
    """

    models: Path
    settings: dict[str, Any]
    compute: "Compute"

    @classmethod
    def load(cls, models: str | Path, device: str, threads: int) -> "Bundle":
        """Open a folder of models; no network is read yet.

        Args:
            models: ``results/models``, or a folder that has it as ``models``: the results of a run,
                or a shared model (:mod:`ldae.application.sharing`).
            device, threads: Where the networks run.

        Raises:
            UserError: the bundle or a model is missing, or they do not belong together.
        """
        models = Path(models)
        if (models / "models/application" / CARD).is_file():
            models = models / "models"
        card = models / "application" / CARD
        require(
            card.is_file(),
            f"{card} does not exist: name the folder of the trained models by --models "
            "(results/models of a finished run), make it (the target `application`), or give "
            "--sample for the models in the package.",
        )
        settings = read_json(card)
        require(
            "performance" in settings,
            f"{card} was written by an earlier version: run the target `application`.",
        )
        for stage, expected in settings["models"].items():
            require(
                load_card(models / stage)["sha256"] == expected,
                f"The {stage} in {models} was trained anew since {card.parent} was written. Run "
                "the target `application`.",
            )
        from ldae.compute import Compute

        return cls(models, settings, Compute.prepare(device, threads, "fp32"))

    @property
    def notice(self) -> str:
        """Warning in every output; of models of synthetic brains, that they saw no patient."""
        return f"{NOTICE} {SYNTHETIC}" if self.settings["synthetic"] else NOTICE

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all that results depend on beside a scan: models, probes and settings."""
        files = [sha256(self.folder / name) for name in (CLASSIFIER, AGE, TRAINING)]
        return digest([self.settings, files])

    @property
    def folder(self) -> Path:
        """Folder of settings and probes."""
        return self.models / "application"

    @cached_property
    def encoder(self) -> "SemanticEncoder":
        """The semantic encoder alone."""
        from ldae.models.loading import load_encoder

        return self.compute.place(load_encoder(self.models / "ldae")[0])

    @cached_property
    def system(self) -> "LdaeSystem":
        """The LDAE with all its networks: autoencoder, denoiser, encoder, gradient estimator."""
        from ldae.inference.ldae_system import LdaeSystem

        models = {stage: self.models / stage for stage in LdaeSystem.stages}
        where = self.compute
        system = LdaeSystem.load(models, self.settings, where.device.type, where.threads)
        return system.with_solver(self.settings["solver"])

    def direction(self) -> "Direction":
        """The diagnosis classifier of y_sem."""
        from ldae.evaluation.probes.direction import Direction

        return Direction.load(self.folder / CLASSIFIER, self.compute.device)

    def age(self) -> "LinearModel":
        """The age regressor of y_sem (years)."""
        from ldae.evaluation.probes.direction import LinearModel

        return LinearModel.load(self.folder / AGE, self.compute.device)

    @cached_property
    def training(self) -> TrainingCodes:
        """Distribution of the training scans' codes."""
        return TrainingCodes.load(self.folder / TRAINING)

    @cached_property
    def template_check(self) -> "TemplateCheck":
        """Comparison of preprocessed volumes with the template's brain."""
        from ldae.application.volume_check import TemplateCheck

        mask, spacing = self.folder / TEMPLATE["mask"], self.settings["volumes"]["spacing"]
        return TemplateCheck(mask, spacing)

    def preprocessing(self, weights: str | Path | None = None) -> dict[str, Any]:
        """The section ``preprocess`` with the paths of this machine.

        Args:
            weights: Folder of the brain extraction's weights; None: the path in the run that made
                the models.

        Raises:
            UserError: the template is missing or differs from that of the models, or the weights
                are missing.
        """
        cfg = self.settings["preprocess"]
        template = {key: self.folder / name for key, name in TEMPLATE.items()}
        for path in template.values():
            require(
                path.is_file() and sha256(path) == self.settings["files"][path.name],
                f"{path} is missing or is not the template the models were trained with. Copy the "
                "folder of the models as a whole, or run the target `application` where they were "
                "made.",
            )
        extraction = cfg["brain_extraction"]
        if extraction["method"] == "antspynet":
            extraction = extraction | {"weights": str(weights or extraction["weights"])}
            require(
                Path(extraction["weights"]).is_dir(),
                f"The folder {extraction['weights']} with the weights of the brain extraction does "
                "not exist here: name it by --brain-weights (docs/pretrained.md).",
            )
        paths = {key: str(path) for key, path in template.items()}
        return {
            **cfg,
            "template": {**paths, "name": cfg["template"]["name"]},
            "brain_extraction": extraction,
        }
