"""Our networks beside those of the authors' public code, call by call in turn, on a CPU.

    PYTHONPATH=src python benchmarks/authors.py CHECKOUT [--small] [--parts encoder]

CHECKOUT is a clone of the authors' project (Table 5's link in the paper); nothing of it is part of
this one, and its licence is not ours. Same sizes, random weights, float32. Printed are medians of
processor seconds of a guided noise estimate, an optimizer step of it, the semantic encoder and the
autoencoder (ours against MONAI's plain one, which theirs became), and what a reconstruction costs
that takes 100 steps each way there and 10 or 5 of second order here, from the seconds of a guided
estimate. Our denoiser is measured as configured, and with their way of halving the grid.
``--small`` takes narrow networks: seconds instead of minutes.
"""

import argparse
import importlib
import statistics
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.networks.nets import AutoencoderKL
from torch import Tensor, nn

import ldae.nets._torchvision  # noqa: F401  before torchvision, which the authors' encoder imports
from ldae.diffusion.solvers import find_solver
from ldae.nets.autoencoder import build_autoencoder
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.shapes import latent_shape
from ldae.nets.unet import build_unet

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
Y_DIM = 768
# Their packages import training frameworks; only the modules with the networks are loaded.
PACKAGES = ("src", "src.ldae", "src.ldae.nets", "src.ldae.base_nets")
SMALL = {"base_channels": 32}
SMALL_SHAPE = [64, 64, 64]
THEIR_STEPS, THEIR_RESAMPLING = 100, "inner_axes"
PARTS = ("denoiser", "autoencoder", "encoder")
EMPTY_SLICES = 0.195  # of axial slices, in the mask of the template
# As good as their 100, and within .001 SSIM, of networks that predict the velocity.
OUR_SOLVERS = {"multistep": 10, "angle": 5}


def authors_module(checkout: Path, name: str) -> types.ModuleType:
    """A module of the checkout, without running the ``__init__`` of its packages."""
    for package in PACKAGES:
        if package not in sys.modules:
            made = types.ModuleType(package)
            made.__path__ = [str(checkout / package.replace(".", "/"))]
            sys.modules[package] = made
    return importlib.import_module(name)


def authors_unet(checkout: Path, ldm: dict[str, Any], channels: int) -> nn.Module:
    """Their denoiser with gradient estimator."""
    module = authors_module(checkout, "src.ldae.nets.shift_unet")
    return module.ShiftUNet(
        input_channel=channels,
        base_channel=ldm["base_channels"],
        channel_multiplier=ldm["channel_mult"],
        num_residual_blocks_of_a_block=ldm["num_res_blocks"],
        attention_resolutions=ldm["attention_factors"],
        num_heads=ldm["num_heads"],
        head_channel=-1,
        use_new_attention_order=False,
        dropout=ldm["dropout"],
        latent_dim=Y_DIM,
        dims=3,
    )


def authors_encoder(checkout: Path, slices: int) -> nn.Module:
    """Their semantic encoder, random weights."""
    module = authors_module(checkout, "src.ldae.nets.attention_semantic")
    backbone = {
        "net_class_path": "torchvision.models.convnext_small",
        "weights": None,
        "freeze_perc": 0.0,
        "grayscale": True,
    }
    return module.AttentionSemanticEncoder(backbone, emb_chans=Y_DIM, seq_len=slices)


def seconds(call: Callable[[], Any]) -> float:
    """Processor seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def in_turn(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int
) -> tuple[float, float]:
    """Median processor seconds of both, called one after the other, after one call to warm up."""
    ours(), theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    mine, other = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(other)


def count(net: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in net.parameters())


def show(name: str, ours: float, theirs: float) -> None:
    """Print a row of the result."""
    print(f"{name:<46}{ours:>10.2f}{theirs:>10.2f}{ours / theirs:>8.2f}", flush=True)


def compare_guided(
    ours: nn.Module, theirs: nn.Module, size: Sequence[int], resample: str, repeats: int
) -> None:
    """Time noise estimates and optimizer steps of two guided denoisers; print the rows.

    Args:
        ours, theirs: The networks.
        size: Shape (C, *S) of the latents.
        resample: What ours halves, for the names of the rows.
        repeats: Number of calls of each.
    """
    print(f"guided UNet, ours {resample}: parameters {count(ours):,} (theirs {count(theirs):,})")
    z, t, y = torch.randn(1, *size), torch.tensor([500]), torch.randn(1, Y_DIM)

    def step(net: nn.Module) -> None:
        net.zero_grad()
        eps, g = net(z, t, y)
        (eps - g).square().mean().backward()

    with torch.no_grad():
        guided = in_turn(lambda: ours(z, t, y), lambda: theirs(z, t, y), repeats)
    show("  noise estimate", *guided)
    show(
        "  step, forward and backward",
        *in_turn(lambda: step(ours), lambda: step(theirs), repeats),
    )
    for solver, steps in OUR_SOLVERS.items():
        calls = sum(find_solver(solver).calls(steps)), 2 * THEIR_STEPS
        costs = (each * seconds for each, seconds in zip(calls, guided, strict=True))
        show(f"  reconstruction ({solver}, {calls[0]} calls; {calls[1]})", *costs)


def compare_denoisers(
    checkout: Path, ldm: dict[str, Any], size: Sequence[int], repeats: int
) -> None:
    """Guided denoisers: ours as configured, and with their way of halving the grid."""
    theirs = authors_unet(checkout, ldm, size[0]).train()
    # They keep a graph of the frozen part as well, unless the caller switches it off.
    for name, parameter in theirs.named_parameters():
        parameter.requires_grad_(name.startswith(("label_emb", "shift_")))
    for resample in dict.fromkeys([ldm["resample"], THEIR_RESAMPLING]):
        cfg = ldm | {"resample": resample}
        ours = build_guided_unet(build_unet(cfg, size[0]), cfg, Y_DIM)
        compare_guided(ours.train(), theirs, size, resample, repeats)
        del ours


def compare_autoencoders(cfg: dict[str, Any], x: Tensor, repeats: int) -> None:
    """Ours and MONAI's plain one of the same configuration, on a volume x (1, 1, X, Y, Z)."""
    sizes = {key: cfg[key] for key in ("channels", "num_res_blocks", "norm_num_groups")}
    other = AutoencoderKL(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        latent_channels=cfg["latent_channels"],
        attention_levels=[False] * len(cfg["channels"]),
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
        **sizes,
    )
    nets = build_autoencoder(cfg), other
    with torch.no_grad():
        pair = [lambda net=net: net.decode(net.encode(x)[0]) for net in nets]
        show("autoencoder, encode and decode", *in_turn(*pair, repeats))


def compare_encoders(checkout: Path, cfg: dict[str, Any], x: Tensor, repeats: int) -> None:
    """Semantic encoders on a volume x (1, 1, X, Y, Z) with as many empty slices as a brain's."""
    x = x.clone()
    x[..., : round(EMPTY_SLICES * x.shape[-1])] = 0
    try:
        theirs = authors_encoder(checkout, x.shape[-1]).eval()
    except ModuleNotFoundError as error:
        print(f"semantic encoder: not measured, the authors' code needs {error.name}")
        return
    ours = build_encoder(cfg | {"pretrained": None}).eval()
    slices = x.movedim(4, 2).contiguous()  # (B, 1, L, H, W)
    with torch.no_grad():
        show("semantic encoder", *in_turn(lambda: ours(x), lambda: theirs(slices), repeats))


def main() -> None:
    """Read the arguments, build the pairs of networks, time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--small", action="store_true", help="narrow networks and small volumes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    if not (arguments.checkout / "src/ldae/nets").is_dir():
        parser.error(f"{arguments.checkout} is no checkout of the authors' code (src/ldae/nets)")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    cfg = yaml.safe_load(CONFIG.read_text())
    small, repeats = arguments.small, arguments.repeats
    shape = SMALL_SHAPE if small else cfg["volumes"]["shape"]
    ldm = cfg["ldm"] | {"checkpointing": False} | (SMALL if small else {})
    autoencoder_cfg = cfg["autoencoder"] | {"pretrained": None, "checkpointing": False}
    size = latent_shape(shape, autoencoder_cfg)
    x = torch.rand(1, 1, *shape)
    print(f"{'processor seconds':<46}{'ours':>10}{'theirs':>10}{'ratio':>8}")
    if "denoiser" in arguments.parts:
        compare_denoisers(arguments.checkout, ldm, size, repeats)
    if "autoencoder" in arguments.parts:
        compare_autoencoders(autoencoder_cfg, x, repeats)
    if "encoder" in arguments.parts:
        compare_encoders(arguments.checkout, cfg["ldae"]["encoder"], x, repeats)


if __name__ == "__main__":
    main()
