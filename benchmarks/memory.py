"""Memory of every training step and evaluation call on a GPU, by the rules of CUDA's autocast.

    PYTHONPATH=src python benchmarks/memory.py [--write]

Followed on tensors without content (ldae.nets.memory): nothing is computed, no GPU is needed.
``--write`` also writes the table that ``micro_batch: auto`` reads. Some ten minutes on one core.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ldae.compute import Compute
from ldae.config import merged, read_configuration
from ldae.files import write_json
from ldae.inference.dae_system import DaeSystem
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.memory import SIZES, call_bytes
from ldae.inference.trained_system import TrainedSystem
from ldae.nets.autoencoder import build_autoencoder
from ldae.nets.conditional_unet import build_conditional_unet
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.memory import GIB
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.unet import build_unet
from ldae.training.memory import Upstream, training_memory
from ldae.training.memory_choice import RECOMPUTED_AT_MOST, choosable_sizes
from ldae.training.memory_table import TABLE, table_key
from ldae.training.settings import training_section

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
STAGES = ("autoencoder", "ldm", "ldae", "dae", "supervised_diagnosis")
PRECISION = "bf16"


def training_rows(cfg: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Memory of the trainings by micro-batch, without and with checkpointing; prints each."""
    upstream = Upstream(cfg["volumes"]["shape"], cfg["autoencoder"], cfg["ldm"])
    print(
        f"{'training':<24}{'micro-batch':>12}{'checkpointing':>15}{'state GiB':>11}{'peak GiB':>10}"
    )
    for stage in STAGES:
        section = training_section(cfg, stage)
        key = table_key(stage, section, upstream, PRECISION)
        for recompute in (False, True):
            for size in choosable_sizes(stage, section, upstream, section["batch_size"])[0]:
                if recompute and size > RECOMPUTED_AT_MOST:
                    continue
                changed = {**section, "micro_batch": size, "checkpointing": recompute}
                peak, state = training_memory(stage, changed, upstream, PRECISION)
                print(
                    f"{stage:<24}{size:>12}{recompute!s:>15}{state / GIB:>11.1f}"
                    f"{peak / GIB:>10.1f}",
                    flush=True,
                )
                yield {
                    "stage": stage,
                    "key": key,
                    "micro_batch": size,
                    "checkpointing": recompute,
                    "bytes": peak,
                }


def systems(cfg: dict[str, Any]) -> list[TrainedSystem]:
    """The configured systems, without content, in the precision of evaluations on a GPU."""
    compute = Compute(torch.device("cpu"), 1, PRECISION, torch.amp.GradScaler("cpu", enabled=False))
    form = {"shape": [1, *cfg["volumes"]["shape"]]}
    latent_channels = cfg["autoencoder"]["latent_channels"]
    plain = {"pretrained": None, "checkpointing": False}  # without gradients nothing is recomputed
    with torch.device("meta"):
        autoencoder = build_autoencoder({**cfg["autoencoder"], **plain})
        section = {**cfg["ldae"]["encoder"], **plain}
        encoders = build_encoder(section), build_encoder(section)
        ldm = {**cfg["ldm"], **plain}
        guided = build_guided_unet(build_unet(ldm, latent_channels), ldm, encoders[0].dim)
        denoiser = build_conditional_unet({**cfg["dae"], **plain}, encoders[1].dim)
    card = {"kind": "ldae", "latent_scale": 1.0, "diffusion": cfg["diffusion"]}
    kinds = {
        "autoencoder": {"kind": "autoencoder", "architecture": cfg["autoencoder"], "form": form}
    }
    own = {"architecture": cfg["dae"], "diffusion": cfg["diffusion"], "form": form}
    guidance = cfg["evaluation"]["guidance"]
    return [
        LdaeSystem(autoencoder, encoders[0], guided, card, kinds, guidance, compute),
        DaeSystem(encoders[1], denoiser, own, "", compute),
    ]


def evaluations(cfg: dict[str, Any]) -> None:
    """Print the memory of the evaluation's calls, with the system's weights, by batch size."""
    print(f"\n{'evaluation':<26}" + "".join(f"{f'batch {size}':>10}" for size in SIZES))
    for system in systems(cfg):
        by_call: dict[str, list[float]] = {}
        for size in SIZES:
            for name, needed in call_bytes(system, size).items():
                by_call.setdefault(name, []).append(needed / GIB)
        for name, needs in by_call.items():
            print(f"{name:<26}" + "".join(f"{need:>10.1f}" for need in needs), flush=True)


def main() -> None:
    """Read the arguments, print the tables, write the first one if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="on top of the defaults")
    parser.add_argument("--write", action="store_true", help=f"write {TABLE}")
    arguments = parser.parse_args()
    cfg = merged(read_configuration(CONFIG), read_configuration(arguments.config))
    evaluations(cfg)
    print()
    rows = list(training_rows(cfg))
    if arguments.write:
        made_by = f"python benchmarks/memory.py --write, torch {torch.__version__}"
        write_json({"made_by": made_by, "precision": PRECISION, "rows": rows}, TABLE)


if __name__ == "__main__":
    main()
