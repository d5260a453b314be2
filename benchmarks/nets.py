"""Networks of the paper's configuration: parameters, FLOPs, and the shared down path.

    PYTHONPATH=src python benchmarks/nets.py

Parameters and FLOPs (batch 1, 1 MAC = 2 FLOP) are counted on tensors without content: nothing is
computed. The last part measures a small network on one CPU thread, for the ratios only. Memory:
benchmarks/memory.py; times of the training steps on a GPU: benchmarks/gpu.py.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ldae.config import merged, read_configuration
from ldae.nets.autoencoder import build_autoencoder, build_discriminator
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.memory import build_hollow, without_content
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.shapes import latent_shape
from ldae.nets.unet import build_unet
from ldae.training.memory import STEPS, Upstream, autocast
from ldae.training.settings import training_section

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
STAGES = ("autoencoder", "ldm", "ldae", "dae", "supervised")
SMALL = {"base_channels": 32, "channel_mult": [1, 2], "attention_factors": [2]}


def convolution_backward_flops(
    grad: torch.Size, x: torch.Size, weight: torch.Size, *rest: Any, **_: Any
) -> int:
    """As many as forward for each gradient; torch's own count ignores groups (ConvNeXt's)."""
    mask = rest[-1]
    forward = 2 * grad[0] * math.prod(grad[2:]) * math.prod(weight)
    return forward * (mask[0] + mask[1])


def gflops(call: Callable[[], Any]) -> float:
    """Billions of floating point operations of one call."""
    mapping = {torch.ops.aten.convolution_backward: convolution_backward_flops}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        call()
    return counter.get_total_flops() / 1e9


def count(net: nn.Module) -> str:
    """Parameters, with thousands separated."""
    return f"{sum(p.numel() for p in net.parameters()):,}"


def hollow(build: Callable[[Any], nn.Module], cfg: Any) -> nn.Module:
    """A network without content, for inference."""
    return build_hollow(lambda: build({**cfg, "checkpointing": False})).eval()


def paper_size(cfg: dict[str, Any]) -> None:
    """Print parameters and FLOPs of every network at the configured size."""
    shape = cfg["volumes"]["shape"]
    size = latent_shape(shape, cfg["autoencoder"])
    with without_content():
        x, z, t = torch.empty(1, 1, *shape), torch.empty(1, *size), torch.zeros(1).long()
        autoencoder = hollow(build_autoencoder, {**cfg["autoencoder"], "pretrained": None})
        discriminator = hollow(build_discriminator, cfg["autoencoder"]["adversarial"])
        encoder = hollow(build_encoder, {**cfg["ldae"]["encoder"], "pretrained": None})
        print(f"{'network':<40}{'parameters':>14}{'GFLOP forward':>16}")
        with torch.no_grad():
            encode, decode = (lambda: autoencoder.encode(x)), (lambda: autoencoder.decode(z))
            print(f"{'autoencoder, encode':<40}{count(autoencoder):>14}{gflops(encode):>16.0f}")
            print(f"{'autoencoder, decode':<40}{'':>14}{gflops(decode):>16.0f}")
            adversary = gflops(lambda: discriminator(x))
            print(f"{'discriminator':<40}{count(discriminator):>14}{adversary:>16.0f}")
            y_sem = gflops(lambda: encoder(x))
            print(f"{'semantic encoder':<40}{count(encoder):>14}{y_sem:>16.0f}")
            for mode in ("isotropic", "inner_axes"):
                ldm = {**cfg["ldm"], "resample": mode}
                guided = hollow(
                    lambda ldm: build_guided_unet(build_unet(ldm, size[0]), ldm, encoder.dim), ldm
                )
                unet, y = guided.unet, torch.empty(1, encoder.dim)
                shared = gflops(lambda: unet.encode(z, t))  # noqa: B023  called at once
                alone = gflops(lambda: unet(z, t))  # noqa: B023
                both = gflops(lambda: guided(z, t, y))  # noqa: B023
                print(f"{f'UNet, {mode}':<40}{count(unet):>14}{alone:>16.0f}")
                print(f"{'  of which shared down path':<40}{'':>14}{shared:>16.0f}")
                print(f"{f'UNet + G, {mode}':<40}{count(guided):>14}{both:>16.0f}")
                naive = (both + shared) / both
                print(f"{'  down path run twice / shared':<40}{'':>14}{naive:>16.2f}")


def training_flops(cfg: dict[str, Any]) -> None:
    """Print FLOPs of the forward and backward passes of one item, by stage."""
    upstream = Upstream(cfg["volumes"]["shape"], cfg["autoencoder"], cfg["ldm"])
    print(f"\n{'TFLOP of an item, training':<40}{'plain':>14}{'checkpointing':>16}")
    for stage in STAGES:
        counted = []
        for recompute in (False, True):
            section = training_section(cfg, stage) | {"checkpointing": recompute}
            # A batch norm of y_sem needs two items.
            standardizes = section.get("encoder", {}).get("standardize", False)
            section["micro_batch"] = 2 if standardizes else 1
            with without_content():
                step = STEPS[stage](section, upstream, autocast("bf16"))
                counted.append(gflops(step.run) / section["micro_batch"] / 1e3)
        print(f"{stage:<40}{counted[0]:>14.2f}{counted[1]:>16.2f}")


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Median CPU seconds of a call, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def sharing(cfg: dict[str, Any], repeats: int) -> None:
    """Time the guided UNet against running the down path once for eps and once for G."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ldm = {**cfg["ldm"], **SMALL, "checkpointing": False, "compile": False}
    guided = build_guided_unet(build_unet(ldm, 3), ldm, 64)
    z, t, y = torch.randn(4, 3, 8, 10, 8), torch.arange(4), torch.randn(4, 64)

    def shared() -> tuple[Tensor, Tensor]:
        return guided(z, t, y)

    def twice() -> tuple[Tensor, Tensor]:
        eps = guided.unet(z, t)
        features, t_emb = guided.unet.encode(z, t)
        return eps, guided.estimator(features, t_emb, y)

    def train(model: Callable[[], tuple[Tensor, Tensor]]) -> None:
        guided.estimator.zero_grad()
        eps, g = model()
        (eps - g).square().mean().backward()

    print(f"\nsmall network, 1 CPU thread, median of {repeats}")
    print(f"{'':<28}{'shared s':>10}{'twice s':>10}{'ratio':>8}")
    rows = {"forward": lambda model: model(), "forward and backward of G": train}
    for name, run in rows.items():
        with torch.set_grad_enabled(run is train):
            fast = seconds(lambda: run(shared), repeats)  # noqa: B023  called at once
            slow = seconds(lambda: run(twice), repeats)  # noqa: B023
        print(f"{name:<28}{fast:>10.3f}{slow:>10.3f}{slow / fast:>8.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="on top of the defaults")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    config = merged(read_configuration(CONFIG), read_configuration(arguments.config))
    paper_size(config)
    training_flops(config)
    sharing(config, arguments.repeats)
