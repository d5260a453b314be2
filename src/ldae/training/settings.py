"""The settings of one training: what a rule, a command line and a test hand over, in one object."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldae.data.sampling import check_batch
from ldae.dependencies import with_flag
from ldae.errors import UserError, require
from ldae.files import read_json, write_json

# Stages that share a section, and those whose encoder is the one of section ldae.
SECTIONS = {"supervised_diagnosis": "supervised", "supervised_age": "supervised"}
SAME_ENCODER = ("dae", "supervised")
FINISHED = "finished"  # file in the folder of a training's checkpoints: its model is written


def training_section(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The settings that a training reads of the configuration.

    The baselines have the very encoder of section ``ldae``, and the supervised one the classes of
    the linear probes: nothing but the training differs between what is compared.
    """
    name = SECTIONS.get(stage, stage)
    cfg = dict(config[name])
    if name in SAME_ENCODER:
        cfg["encoder"] = config["ldae"]["encoder"]
    if name == "supervised":
        cfg["classes"] = config["evaluation"]["probes"]["classes"]
    return cfg


@dataclass(frozen=True)
class Settings:
    """All settings of one training.

    Args:
        stage: Which training: a key of ``training.stages.STAGES``.
        inputs: Folders of the stores and models it reads, by name (volumes, latents, autoencoder,
            ldm).
        out_dir: The model's folder.
        run_dir: The stage's folder of checkpoints, one subfolder a training.
        cfg: The stage's config section. The loop reads batch_size, micro_batch, processes, epochs,
            grad_clip, workers, validate_every and sample_every of it.
        seed: Of every random draw.
        device: cuda or cpu.
        threads: CPU threads of all processes together.
        diffusion: The config section ``diffusion``, for stages that diffuse.
        fingerprint: Of the sources; another one is another training.
        record: What the training depends on, for the card; None without a workflow.
        checkpoint_seconds: Wall time between checkpoints.
        keep_checkpoints: Keep the last ones when the model is written, so that the same training
            with more epochs continues from them.
        scratch: A disk of the node, on which the stores are copied; None: read them in place.
        stop_after: Leave as if interrupted after this step; None: never. For tests.
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
    checkpoint_seconds: float = 600.0
    keep_checkpoints: bool = False
    scratch: str | None = None
    stop_after: int | None = None

    def __post_init__(self) -> None:
        cfg = self.cfg
        check_batch(self.stage, cfg["batch_size"], cfg["micro_batch"], cfg["processes"])

    @property
    def processes(self) -> int:
        """Processes that train together, each with a device of its own."""
        return self.cfg["processes"]

    def write(self, path: str | Path) -> None:
        """Write them as JSON for processes that are started apart."""
        write_json(dataclasses.asdict(self), path)

    @classmethod
    def read(cls, path: str | Path) -> "Settings":
        """Read what :meth:`write` wrote.

        Raises:
            UserError: there is no such file, or it holds something else.
        """
        require(Path(path).is_file(), f"There are no training settings in {path}.")
        try:
            return cls(**read_json(path))
        except (TypeError, ValueError, KeyError) as error:
            raise UserError(f"{path} holds no training settings: {error}.") from error


def model_settings(cfg: dict[str, Any]) -> dict[str, Any]:
    """The part of a training's section that its model depends on: another value trains it anew."""
    free = with_flag("keeps_model")
    return {key: value for key, value in cfg.items() if key not in free}


def divergence_settings(cfg: dict[str, Any]) -> dict[str, Any]:
    """The part of a training's section that decides whether it diverges."""
    free = with_flag("keeps_model") - with_flag("rounds")
    return {key: value for key, value in cfg.items() if key not in free}
