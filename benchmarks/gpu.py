"""Checks that a GPU has to confirm, in one go of at most eight minutes; prints one JSON object.

    PYTHONPATH=src python benchmarks/gpu.py > gpu.json

Of every training: seconds and peak memory of a step at the paper's size, beside the memory of the
model (ldae.nets.memory), without and with torch.compile. Of the evaluation: seconds and memory of a
guided call at batch 1 and 8, and its error in bf16 against fp32. Whether steps continue bit for bit
after a reload, and whether two ranks give the gradient of one. What no time is left for is named.
Without a GPU it ends with 2. ``--tiny --device cpu`` runs the same code on small networks.
"""

import argparse
import copy
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from ldae.compute import use_channels_last
from ldae.nets.memory import GIB, Gpu, visible_gpu
from ldae.training.distributed.processes import Processes, process_group
from ldae.training.memory import STEPS, Step, Upstream, autocast, training_memory
from ldae.training.memory_choice import choose
from ldae.training.settings import training_section

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
STAGES = ("ldm", "ldae", "autoencoder", "supervised", "dae")
COMPILED = ("ldm", "ldae")  # minutes each
SECONDS = 480.0
REPEATS = 3
TINY: dict[str, dict[str, Any]] = {
    "volumes": {"shape": [32, 32, 32]},
    "autoencoder": {
        "channels": [8, 8],
        "num_res_blocks": 1,
        "norm_num_groups": 4,
        "perceptual": {"net": None, "weight": 0.0},
        "adversarial": {"weight": 0.025, "num_layers": 1, "channels": 8},
    },
    "ldm": {
        "base_channels": 8,
        "channel_mult": [1, 2],
        "num_res_blocks": 1,
        "attention_factors": [2],
        "norm_num_groups": 4,
    },
    "dae": {
        "shape": [32, 32, 32],
        "base_channels": 8,
        "channel_mult": [1, 2],
        "num_res_blocks": 1,
        "attention_factors": [2],
        "norm_num_groups": 4,
    },
}
TINY_ENCODER = {
    "backbone": "convnext_atto",
    "backbone_kwargs": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    "num_heads": 4,
}


class Bench:
    """Sections of the result, made until the time is over.

    Args:
        cfg: The configuration.
        device: cuda or cpu.
        gpu: The GPU; None: a CPU.
        seconds: Time for all.
    """

    def __init__(self, cfg: dict[str, Any], device: str, gpu: Gpu | None, seconds: float):
        self.cfg, self.device, self.gpu = cfg, device, gpu
        self.end = time.monotonic() + seconds
        self.upstream = Upstream(cfg["volumes"]["shape"], cfg["autoencoder"], cfg["ldm"])
        self.result: dict[str, Any] = {"torch": torch.__version__, "device": device}
        self.result["gpu"] = gpu and {"name": gpu.name, "usable_gib": gpu.bytes / GIB}

    def section(self, name: str, make: Callable[[], Any]) -> None:
        """Add a part of the result; what fails or has no time left is named, the rest goes on."""
        if time.monotonic() > self.end:
            self.result[name] = "not run: no time left"
            return
        began = time.monotonic()
        try:
            self.result[name] = make()
        except torch.OutOfMemoryError as error:
            self.result[name] = f"out of memory: {error}"
        print(f"{name}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def chosen(self, stage: str) -> dict[str, Any]:
        """Section of a stage with the micro-batch that ``auto`` takes here."""
        section = training_section(self.cfg, stage)
        plan = choose(stage, section, self.upstream, section["batch_size"], "bf16", self.gpu)
        return section | {"micro_batch": plan.micro_batch, "checkpointing": plan.checkpointing}

    def step(self, section: dict[str, Any], stage: str) -> Step:
        """A stage's step on the device, laid out as a training does."""
        torch.manual_seed(0)
        made = STEPS[stage](section, self.upstream, autocast("bf16", self.device), self.device)
        if self.device == "cuda":
            for net in [*made.trained, *made.frozen]:
                use_channels_last(net)
        return made

    def timed(self, call: Callable[[], Any]) -> dict[str, float]:
        """Median seconds of a call after one to warm up, and its peak memory."""
        times = []
        for _ in range(REPEATS + 1):
            if self.device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
            call()
            if self.device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        taken = {"first_seconds": times[0], "seconds": statistics.median(times[1:])}
        if self.device == "cuda":
            taken["peak_gib"] = torch.cuda.max_memory_allocated() / GIB
            taken["reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
        return taken

    def training(self, stage: str, compiled: bool = False) -> dict[str, Any]:
        """A training's step with Adam and averages, measured and by the model."""
        section = self.chosen(stage) | {"compile": compiled}
        peak, state = training_memory(stage, section, self.upstream)
        step = self.step(section, stage)
        averages = copy.deepcopy(step.trained) if step.ema else None
        adam = optimizer(step)
        measured = self.timed(lambda: take(step, adam))
        model = {"model_gib": peak / GIB, "model_state_gib": state / GIB}
        del averages
        batch = {"micro_batch": section["micro_batch"], "checkpointing": section["checkpointing"]}
        return batch | measured | model

    def guided(self) -> dict[str, Any]:
        """A guided noise estimate at batch 1 and 8, and the relative error of bf16."""
        found: dict[str, Any] = {}
        for batch in (1, 8):
            section = training_section(self.cfg, "ldae")
            section |= {"micro_batch": batch, "checkpointing": False}
            step = self.step(section, "ldae")
            found[f"batch_{batch}"] = self.timed(step.validate)
        unet = step.frozen[0].float().eval()  # kept in bf16
        shape = (2, unet.shape.in_channels, 16, 16, 16)
        z, t = torch.randn(shape, device=self.device), torch.tensor([10, 500], device=self.device)
        with torch.no_grad():
            exact = unet(z, t).double()
            with autocast("bf16", self.device)():
                rounded = unet(z, t).double()
        found["bf16_relative_error"] = float((rounded - exact).norm() / exact.norm())
        return found

    def resume(self) -> dict[str, bool]:
        """Whether four steps repeat bit for bit, and so do two, a reload, and two more."""
        section = self.chosen("ldm") | {"micro_batch": 2, "checkpointing": False}

        def run(steps: range, saved: bytes | None = None) -> tuple[bytes, list[torch.Tensor]]:
            step = self.step(section, "ldm")
            adam, net = optimizer(step), step.trained[0]
            if saved is not None:
                state = torch.load(io.BytesIO(saved), weights_only=True)
                for parameter, value in zip(net.parameters(), state["net"], strict=True):
                    parameter.data.copy_(value)
                adam.load_state_dict(state["adam"])
            for number in steps:
                torch.manual_seed(number)  # dropout
                take(step, adam)
            weights = [p.detach().clone() for p in net.parameters()]
            buffer = io.BytesIO()
            torch.save({"net": weights, "adam": adam.state_dict()}, buffer)
            return buffer.getvalue(), weights

        whole, again = run(range(4))[1], run(range(4))[1]
        resumed = run(range(2, 4), run(range(2))[0])[1]
        return {"repeats": equal(whole, again), "resumes": equal(whole, resumed)}

    def ranks(self) -> dict[str, Any] | str:
        """Largest relative difference of a gradient summed over two ranks from that of one."""
        if self.device == "cuda" and torch.cuda.device_count() < 2:
            return "not run: one GPU"
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(rank_sum, (self.device, folder), nprocs=2)
            sums = [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(2)]
        alone = gradient(self.device, slice(None))
        error = max(float((each - alone).abs().max() / alone.abs().max()) for each in sums)
        return {"relative_error": error, "ranks_equal": torch.equal(*sums)}


def optimizer(step: Step) -> torch.optim.Optimizer:
    """Adam, as a training has it, over all that is trained."""
    weights = [p for net in step.trained for p in net.parameters() if p.requires_grad]
    return torch.optim.Adam(weights, lr=1e-4, fused=True)


def take(step: Step, adam: torch.optim.Optimizer) -> None:
    """One optimizer step on one micro-batch."""
    adam.zero_grad(set_to_none=True)
    step.run()
    adam.step()


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Whether all tensors are the same bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def gradient(device: str, part: slice) -> torch.Tensor:
    """Gradient of a sum over a part of fixed items, for a fixed layer, on the CPU."""
    torch.manual_seed(0)
    layer, items = nn.Linear(64, 64), torch.randn(8, 64)
    layer.to(device)(items[part].to(device)).square().sum().backward()
    return layer.weight.grad.cpu()


def rank_sum(rank: int, device: str, folder: str) -> None:
    """Sum the gradients of two ranks, half of the items each; write the sum of this one."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533", "RANK": str(rank)}
    os.environ["WORLD_SIZE"] = "2"
    where = f"cuda:{rank}" if device == "cuda" else "cpu"
    if device == "cuda":
        torch.cuda.set_device(rank)
    processes = Processes(rank=rank, size=2, local_rank=rank)
    with process_group(processes, device, 2):
        own = gradient(where, slice(4 * rank, 4 * rank + 4)).to(where)
        processes.sum([own])
        torch.save(own.cpu(), f"{folder}/{rank}.pt")


def tiny(cfg: dict[str, Any]) -> dict[str, Any]:
    """The configuration with small networks and volumes."""
    for name, changes in TINY.items():
        cfg[name] |= changes
    cfg["ldae"]["encoder"] |= TINY_ENCODER
    for name in STAGES:
        cfg[name]["batch_size"] = 2
    return cfg


def main() -> None:
    """Read the arguments, run all sections, print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks, also for a CPU")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("This process sees no GPU: nothing was measured.", file=sys.stderr)
        sys.exit(2)
    cfg = yaml.safe_load(CONFIG.read_text())
    if arguments.tiny:
        cfg = tiny(cfg)
    if arguments.device == "cuda":  # as a training (ldae.compute)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    gpu = visible_gpu() if arguments.device == "cuda" else None
    bench = Bench(cfg, arguments.device, gpu, arguments.seconds)
    for stage in STAGES:
        bench.section(f"step_{stage}", lambda stage=stage: bench.training(stage))
    bench.section("guided", bench.guided)
    bench.section("resume", bench.resume)
    bench.section("two_ranks", bench.ranks)
    for stage in COMPILED if arguments.device == "cuda" else ():
        bench.section(f"compiled_{stage}", lambda stage=stage: bench.training(stage, True))
    print(json.dumps(bench.result, indent=2))


if __name__ == "__main__":
    main()
