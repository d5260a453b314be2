"""Trainings of a few thousand weights: stores, settings and the objectives."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

import ldae.nets._torchvision  # noqa: F401  before lpips
from helpers.networks import PAPER
from helpers.stores import write_store
from ldae.compute import Compute
from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.schedule import Schedule
from ldae.inference.latents import build_latent_store, encode_shard
from ldae.models.loading import load_autoencoder, load_ldm
from ldae.training.checkpoint_files import Checkpoints
from ldae.training.distributed.processes import Processes
from ldae.training.objectives.autoencoder import AutoencoderObjective
from ldae.training.objectives.dae import DaeObjective
from ldae.training.objectives.ldae import LdaeObjective
from ldae.training.objectives.ldm import LdmObjective
from ldae.training.objectives.supervised import AgeObjective, DiagnosisObjective
from ldae.training.settings import Settings
from ldae.training.stages import train
from ldae.training.state import TIMING

COMMON = {
    "learning_rate": 1e-3,
    "batch_size": 4,
    "micro_batch": 2,
    "epochs": 2,
    "precision": "fp32",
    "workers": 0,
    "validate_every": 1,
    "sample_every": 0,
}
AVERAGED = COMMON | {"ema_decay": 0.9}
SMALL_UNET = {
    "base_channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_factors": [2],
    "norm_num_groups": 4,
}
ENCODER = PAPER["ldae"]["encoder"] | {
    "backbone": "test_resnet",
    "pretrained": None,
    "num_heads": 4,
    "standardize": True,
}
AUTOENCODER = {
    **PAPER["autoencoder"],
    **COMMON,
    "channels": [4, 8],
    "num_res_blocks": 1,
    "latent_channels": 2,
    "norm_num_groups": 2,
    "adversarial": PAPER["autoencoder"]["adversarial"]
    | {"start_epoch": 1, "num_layers": 1, "channels": 4},
    "perceptual": PAPER["autoencoder"]["perceptual"] | {"weights": "", "fake_3d_ratio": 0.1},
    "pretrained": None,
}
LDM = PAPER["ldm"] | AVERAGED | SMALL_UNET | {"sample_steps": 3}
LDAE = {
    **PAPER["ldae"],
    **AVERAGED,
    "draws": 2,
    "encoder": ENCODER,
    "validate_steps": 3,
    "validate_scans": 1,
    "probe_scans": 8,
}
DAE = {
    **PAPER["dae"],
    **AVERAGED,
    **SMALL_UNET,
    "encoder": ENCODER,
    "shape": [12, 16, 12],
    "validate_steps": 3,
    "validate_scans": 2,
}
SUPERVISED = PAPER["supervised"] | COMMON | {"encoder": ENCODER, "classes": ["CN", "AD"]}
# Without batch norm and dropout: their statistics and draws depend on the micro-batch.
STATELESS_ENCODER = {"backbone": "test_convnext", "standardize": False, "attention_dropout": 0.0}
STATELESS = {
    "ldm": {"dropout": 0.0},
    "ldae": {"encoder": ENCODER | STATELESS_ENCODER},
    "dae": {"encoder": ENCODER | STATELESS_ENCODER, "dropout": 0.0},
    "supervised_diagnosis": {"encoder": ENCODER | STATELESS_ENCODER},
    "supervised_age": {"encoder": ENCODER | STATELESS_ENCODER},
}
DIFFUSION = PAPER["diffusion"]
SEED = 5


def write_volumes(folder: Path) -> None:
    """A volume store of ten blurred random volumes of five subjects."""
    noise = torch.rand(10, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    volumes = torch.nn.functional.avg_pool3d(noise, 5, stride=1, padding=2)
    low, high = volumes.amin((2, 3, 4), True), volumes.amax((2, 3, 4), True)
    index = pd.DataFrame({"scan_id": [f"scan{i}" for i in range(10)]})
    index["participant_id"] = [f"sub-{i // 2}" for i in range(10)]
    index["split"] = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    index["diagnosis"] = ["CN", "CN", "AD", "AD", "CN", "AD"] + ["CN", "AD"] * 2
    index["age"], index["sex"] = 60.0 + np.arange(10), ["M", "F"] * 5
    array = ((volumes - low) / (high - low)).numpy().astype(np.float16)
    write_store(folder, index, {"spacing": 1.5}, volumes=array)


def write_squeezenet(path: Path) -> None:
    """Random weights of the perceptual loss's network."""
    import lpips

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        squeeze = lpips.LPIPS(net="squeeze", pretrained=False, pnet_rand=True, verbose=False)
    # cloned, because lpips shares the tensors of its heads
    save_file({key: value.clone() for key, value in squeeze.state_dict().items()}, path)


def inputs(root: Path, stage: str) -> dict[str, str]:
    """Stores and models that a stage reads."""
    names = {
        "autoencoder": ["volumes"],
        "ldm": ["latents", "autoencoder"],
        "ldae": ["volumes", "latents", "autoencoder", "ldm"],
    }
    return {name: str(root / name) for name in names.get(stage, ["volumes"])}


def settings(
    stage: str, cfg: Mapping[str, Any], run_dir: Path, root: Path | None = None, **more: Any
) -> Settings:
    """Settings of a stage; ``root`` is needed where the stage's own entry point is called."""
    given = {
        "inputs": inputs(root, stage) if root else {},
        "out_dir": str(run_dir / "model"),
        "run_dir": str(run_dir),
        "cfg": dict(cfg),
        "seed": SEED,
        "diffusion": DIFFUSION if stage in ("ldm", "ldae", "dae") else None,
    }
    return Settings(stage, **(given | more))


def make_chain(root: Path) -> tuple[Path, dict[str, dict]]:
    """Train the three stages for two epochs each; returns the folder and all configs."""
    torch.set_num_threads(1)
    write_volumes(root / "volumes")
    write_squeezenet(root / "squeeze.safetensors")
    perceptual = AUTOENCODER["perceptual"] | {"weights": str(root / "squeeze.safetensors")}
    configs = {
        "autoencoder": AUTOENCODER | {"perceptual": perceptual},
        "ldm": LDM | {"sample_every": 2},
        "ldae": LDAE,
    }
    baselines = {"dae": DAE, "supervised_diagnosis": SUPERVISED, "supervised_age": SUPERVISED}
    for stage, cfg in configs.items():
        run_dir = root / "runs" / stage
        train(settings(stage, cfg, run_dir, root, out_dir=str(root / stage)), Processes())
        if stage == "autoencoder":
            folders = [root / name for name in ("volumes", stage, "latents")]
            encode_shard(*folders, root / "share.json", (0, 1), "cpu", 1)
            build_latent_store(*folders, {"source": "sample", "variance": "all"})
    return root, configs | baselines


def objective(chain, stage, **changes):
    """A fresh objective of ``stage`` and its config."""
    root, configs = chain
    cfg = configs[stage] | changes
    compute = Compute.prepare("cpu", 1, cfg["precision"])
    volumes = VolumeStore(root / "volumes")
    if stage == "autoencoder":
        return AutoencoderObjective(volumes, cfg, compute, SEED), cfg
    for kind in (DiagnosisObjective, AgeObjective):
        if stage == kind.stage:
            return kind(volumes, cfg, compute, SEED), cfg
    latents, schedule = LatentStore(root / "latents"), Schedule(**DIFFUSION)
    if stage == "dae":
        return DaeObjective(volumes, cfg, schedule, compute, SEED), cfg
    decoder, _ = load_autoencoder(root / "autoencoder")
    if stage == "ldm":
        return LdmObjective(latents, cfg, schedule, compute, SEED, decoder), cfg
    unet, card = load_ldm(root / "ldm")
    made = LdaeObjective(volumes, latents, decoder, unet, card, cfg, schedule, compute, SEED)
    return made, cfg


def saved(run_dir: Path) -> Checkpoints:
    """Checkpoints of the only training below ``run_dir``."""
    (file,) = run_dir.glob("*/identity.json")
    return Checkpoints(file.parent)


def weights(objective) -> dict[str, torch.Tensor]:
    """All trained weights and buffers, and the averages."""
    state = {
        f"{name}.{key}": value.clone()
        for name, module in objective.modules().items()
        for key, value in module.state_dict().items()
    }
    average = objective.ema.state_dict() if objective.ema else {}
    return state | {f"ema.{key}": value.clone() for key, value in average.items()}


def assert_same(one: Mapping, other: Mapping) -> None:
    """Two states agree bit for bit."""
    assert one.keys() == other.keys()
    differing = [key for key in one if not torch.equal(one[key], other[key])]
    assert not differing


def without_timing(history: list[dict]) -> list[dict]:
    """Rows of a history without timing, which differs between runs."""
    return [{k: v for k, v in row.items() if k not in TIMING} for row in history]
