"""What the commands need beside the models: grid, probes and preprocessing, in one folder.

Layout of ``results/models/application``: ``application.json`` (settings and the SHA-256 of the
models they belong to), ``classifier.npz`` and ``age_regressor.npz`` (linear probes of y_sem).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldae.errors import require
from ldae.evaluation.direction import Direction, LinearModel
from ldae.evaluation.systems import LdaeSystem
from ldae.files import atomic, read_json, write_json
from ldae.modelfile import load_card

CARD = "application.json"
CLASSIFIER, AGE = "classifier.npz", "age_regressor.npz"
STAGES = ("autoencoder", "ldm", "ldae")


def write_bundle(
    folder: str | Path,
    models: Mapping[str, str | Path],
    classifier: str | Path,
    age_regressor: str | Path,
    settings: Mapping[str, Any],
) -> None:
    """Write the folder.

    Args:
        folder: Beside the model folders.
        models: Model folder of each of :data:`STAGES`.
        classifier, age_regressor: Files of the probes.
        settings: ``preprocess``, ``volumes`` (config sections), ``guidance``, ``ddim_steps``,
            ``mode``.
    """
    folder = Path(folder)
    for source, name in ((classifier, CLASSIFIER), (age_regressor, AGE)):
        with atomic(folder / name) as temporary:
            shutil.copyfile(source, temporary)
    sums = {stage: load_card(models[stage])["sha256"] for stage in STAGES}
    write_json({"models": sums, **settings}, folder / CARD)


@dataclass(frozen=True)
class Bundle:
    """The models, loaded, with probes and settings (see :func:`write_bundle`)."""

    system: LdaeSystem
    settings: dict[str, Any]
    folder: Path

    @classmethod
    def load(cls, models: str | Path, device: str, threads: int) -> "Bundle":
        """Restore everything below a ``models`` folder.

        Raises:
            UserError: something is missing, or the settings belong to other models.
        """
        models = Path(models)
        folder = models / "application"
        require(
            (folder / CARD).is_file(),
            f"{folder / CARD} does not exist: name the folder of the trained models by --models "
            "(results/models of a finished run), or make it: `snakemake application`.",
        )
        settings = read_json(folder / CARD)
        for stage, expected in settings["models"].items():
            require(
                load_card(models / stage)["sha256"] == expected,
                f"The {stage} in {models} was trained anew since {folder} was written. Run "
                "`snakemake application`.",
            )
        system = LdaeSystem.load(*(models / stage for stage in STAGES), settings, device, threads)
        return cls(system, settings, folder)

    def direction(self) -> Direction:
        """The diagnosis classifier of y_sem."""
        return Direction.load(self.folder / CLASSIFIER, self.system.compute.device)

    def age(self) -> LinearModel:
        """The age regressor of y_sem, years."""
        return LinearModel.load(self.folder / AGE, self.system.compute.device)
