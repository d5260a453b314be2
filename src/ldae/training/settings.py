"""Settings of one training, in one object for rules, command lines and tests."""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldae.config import augmentation, diagnosis_classes, linear_branch, section_name, slice_branch
from ldae.data.sampling import check_batch
from ldae.dependencies import with_flag
from ldae.errors import UserError, require
from ldae.files import read_json, write_json

SAME_ENCODER = ("dae", "supervised")  # sections whose encoder is that of section ldae
# Baselines that are a stage with the slices' branch alone.
VARIANTS = {"ldae_slices": "ldae"}
FINISHED = "finished"  # empty file in a checkpoint folder: the model of the training is written
# In the stage's folder of checkpoints: what auto chose.
PRECISION_CHOICE = "precision.json"
MEMORY_CHOICE = "memory.json"
COMPILE_CHOICE = "compile.json"
CHOICES = (PRECISION_CHOICE, MEMORY_CHOICE, COMPILE_CHOICE)


def stage_of(training: str) -> str:
    """Name of the stage that a training of the workflow is, a key of ``stages.STAGES``."""
    return VARIANTS.get(training, training)


def training_section(config: Mapping[str, Any], training: str) -> dict[str, Any]:
    """The config section of a training, with all that it reads from other sections.

    The baselines have the slices' branch of the encoder of section ``ldae``, which is the paper's,
    and the supervised ones the classes of the linear probes. What trains an encoder has section
    ``augmentation``, if it is on.
    """
    name = section_name(stage_of(training))
    cfg = dict(config[name])
    if name in (*SAME_ENCODER, "ldae"):
        encoder = config["ldae"]["encoder"]
        of_slices = name in SAME_ENCODER or training in VARIANTS
        kind = "slices" if of_slices else encoder.get("kind", "slices")
        branch = {"slices": slice_branch, "components": linear_branch}.get(kind, dict)
        cfg["encoder"] = branch(encoder)
        if kind != "components":  # computed once: a change of the scan would only blur the code
            cfg |= augmentation(config)
    if name == "supervised":
        cfg["classes"] = list(diagnosis_classes(config["evaluation"]))
    return cfg


@dataclass(frozen=True)
class Settings:
    """All settings of one training.

    Args:
        stage: Name of the training, a key of ``training.stages.STAGES``.
        inputs: Folders of the stores and models it reads, by name (volumes, latents, autoencoder,
            ldm).
        out_dir: The model's folder.
        run_dir: The stage's folder of checkpoints, with one subfolder for each training.
        cfg: The stage's config section (:func:`training_section`). All stages need batch_size,
            micro_batch, processes, epochs, decay, grad_clip, workers, precision, validate_every
            and sample_every.
        seed: Seed of every random draw.
        device: cuda or cpu.
        threads: CPU threads of all processes together.
        diffusion: The config section ``diffusion``, for stages that diffuse.
        fingerprint: Fingerprint of the sources; with another one it is another training.
        record: Training record for the card: the inputs, settings and sources that the training
            depends on; None outside the workflow.
        checkpoint_seconds: Wall time between checkpoints, in seconds.
        keep_checkpoints: Keep the last ones when the model is written, so that the same training
            can continue with more epochs.
        scratch: Folder on a disk of the node, to which the stores are copied; None: they are read
            in place.
        compile_cache: Folder that compiled networks are kept in for later trainings; None: torch's
            own, in the machine's temporary folder.
        tracker: What keeps curves and pictures: tensorboard, wandb or mlflow.
        tracking: Folder of the runs of wandb and mlflow; None: the model's folder.
        stop_after: Stop as if interrupted after this step; None: never. For tests.

    Raises:
        UserError: batch_size is not a multiple of micro_batch x processes; of processes, where
            micro_batch is ``auto``.
    """

    stage: str
    inputs: dict[str, str]
    out_dir: str
    run_dir: str
    cfg: dict[str, Any]
    seed: int
    device: str = "cpu"
    threads: int = 1
    diffusion: dict[str, Any] | None = None
    fingerprint: str = ""
    record: dict[str, Any] | None = None
    checkpoint_seconds: float = 1800.0
    keep_checkpoints: bool = False
    scratch: str | None = None
    compile_cache: str | None = None
    tracker: str = "tensorboard"
    tracking: str | None = None
    stop_after: int | None = None

    def __post_init__(self) -> None:
        cfg = self.cfg
        check_batch(self.stage, cfg["batch_size"], cfg["micro_batch"], cfg["processes"])

    @property
    def processes(self) -> int:
        """Processes that train together, each with a device of its own."""
        return self.cfg["processes"]

    def write(self, path: str | Path) -> None:
        """Write them as JSON, for processes that are started separately."""
        write_json(dataclasses.asdict(self), path)

    @classmethod
    def read(cls, path: str | Path) -> "Settings":
        """Read what :meth:`write` wrote.

        Raises:
            UserError: the file is missing or holds something else.
        """
        require(Path(path).is_file(), f"There are no training settings in {path}.")
        try:
            return cls(**read_json(path))
        except (TypeError, ValueError, KeyError) as error:
            raise UserError(f"{path} holds no training settings: {error}.") from error


def delete_checkpoints(folder: Path) -> None:
    """Delete a training's checkpoints; with the stage's last ones also :data:`CHOICES`."""
    shutil.rmtree(folder)
    if not any(path.is_dir() for path in folder.parent.iterdir()):
        for name in CHOICES:
            (folder.parent / name).unlink(missing_ok=True)


def model_settings(cfg: dict[str, Any]) -> dict[str, Any]:
    """Keys of a training's section on which its model depends; other keys need no retraining."""
    free = with_flag("keeps_model")
    return {key: value for key, value in cfg.items() if key not in free}


def divergence_settings(cfg: dict[str, Any]) -> dict[str, Any]:
    """Keys of a training's section that decide whether it diverges."""
    free = with_flag("keeps_model") - with_flag("rounds")
    return {key: value for key, value in cfg.items() if key not in free}
