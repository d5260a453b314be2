"""GPU-hours of the paper's trainings and evaluations by a model of the time, beside another commit.

    PYTHONPATH=src python benchmarks/cost_model.py [--base COMMIT] [--scans 10340]

Every operator of a training step is followed on tensors without content, by the rules of CUDA's
autocast (ldae.nets.memory). It takes the longer of its arithmetic at 40 % of an A100's peak and its
traffic at 85 % of its bandwidth. Nothing is measured: the ratios say more than the hours. Of what
torch.compile fuses, by default on GPUs (``compile: auto``), only the normalisations of the 3-D
networks are taken as fused: three passes over the volume forwards, five backwards. ``--eager``
takes them as the operators they are written in. Not modelled: reading, validation, the optimizer,
and the copies by which PyTorch's own group_norm undoes the channels-last layout. ``--base`` follows
the source and configuration of an earlier commit with the same script.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ldae.config import section_name
from ldae.nets.memory import cuda_autocast, without_content
from ldae.training.memory import STEPS, Upstream, autocast
from ldae.training.settings import training_section

REPO = Path(__file__).parents[1]
# A100: operations a second by width of the operands (bfloat16; TF32), bytes a second (40 GB card).
PEAK = {2: 312e12, 4: 156e12}
BANDWIDTH = 1.555e12
OF_PEAK, OF_BANDWIDTH = 0.40, 0.85
# Micro-batches that fit 40 GB, before and after: the cost of an item hardly depends on them.
MICRO_BATCH = {"autoencoder": 1, "ldm": 32, "ldae": 4, "dae": 1, "supervised": 2}
STAGES = ("autoencoder", "ldm", "ldae", "dae", "supervised_diagnosis", "supervised_age")
TRAINED_ON = 0.89  # of the scans (section 4.2)
TESTED = 0.10
VISITS, TRIPLETS = 225, 1400  # of 30 participants (section 5.5)
EVALUATED = ("reconstruction", "interpolation")


class Cost(TorchDispatchMode):
    """Modelled seconds of the operators within the context.

    Attributes:
        seconds: Of all of them.
        arithmetic: Of those whose arithmetic takes longer than their traffic.
        alone: Of the arithmetic of all, as if traffic took no time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds = self.arithmetic = self.alone = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        outputs = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        if is_view(func, inputs, outputs):
            return out
        traffic = sum(map(stored_bytes, inputs + outputs)) / (OF_BANDWIDTH * BANDWIDTH)
        count = flop_registry.get(func.overloadpacket)
        work = 0.0
        if func is torch.ops.aten.convolution_backward.default:
            work = convolution_gradients(*args)
        elif count is not None:
            work = count(*args, **(kwargs or {}), out_val=out)
        widths = [each.element_size() for each in inputs if each.is_floating_point()]
        arithmetic = work / (OF_PEAK * PEAK.get(min(widths, default=4), PEAK[4]))
        self.seconds += max(traffic, arithmetic)
        self.arithmetic += arithmetic if arithmetic > traffic else 0.0
        self.alone += arithmetic
        return out


def convolution_gradients(grad: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> float:
    """Operations of a convolution's gradients; torch's count ignores groups (ConvNeXt's)."""
    mask = rest[-1]
    forward = 2 * grad.shape[0] * prod(grad.shape[2:]) * weight.numel()
    return forward * (mask[0] + mask[1])


def is_view(func: Any, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    """Whether an operator moves no bytes: its results lie in the memory of its operands."""
    if func._schema.is_mutable:
        return False
    known = {each.untyped_storage()._cdata for each in inputs}
    return all(each.untyped_storage()._cdata in known for each in outputs)


def stored_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's distinct elements: an expanded one is read once."""
    held = prod(n for n, s in zip(tensor.shape, tensor.stride(), strict=True) if s)
    return held * tensor.element_size()


def cost(call: Callable[[], Any], fused: bool) -> Cost:
    """Modelled cost of a call on tensors without content."""
    with cuda_autocast(), Cost() as counted, fused_normalisations(counted, fused):
        call()
    return counted


@contextmanager
def fused_normalisations(counted: Cost, fused: bool) -> Iterator[None]:
    """Within the context a normalisation counts as the passes of its fused kernels, if asked."""
    if not fused or importlib.util.find_spec("ldae.nets.normalisation") is None:  # earlier commit
        yield
        return
    kind = importlib.import_module("ldae.nets.normalisation")._ReducedGroupNorm
    forward, backward = kind.forward, kind.backward

    def as_passes(call: Callable[..., Any], passes: int) -> Any:
        def run(ctx: Any, x: Tensor, *rest: Any) -> Any:
            before = counted.seconds, counted.arithmetic, counted.alone
            out = call(ctx, x, *rest)
            counted.seconds, counted.arithmetic, counted.alone = before
            counted.seconds += passes * stored_bytes(x) / (OF_BANDWIDTH * BANDWIDTH)
            return out

        return staticmethod(run)

    # Read for the statistics and for the result, write it; read gradient and input twice, write.
    kind.forward, kind.backward = as_passes(forward, 3), as_passes(backward, 5)
    try:
        yield
    finally:
        kind.forward, kind.backward = staticmethod(forward), staticmethod(backward)


def item_seconds(
    cfg: dict[str, Any], scans: int, fused: bool = True
) -> dict[str, dict[str, float]]:
    """Modelled milliseconds an item and GPU-hours of every training and evaluation.

    Args:
        cfg: The configuration.
        scans: Scans of the whole cohort.
        fused: Whether normalisations are fused.
    """
    upstream = Upstream(cfg["volumes"]["shape"], cfg["autoencoder"], cfg["ldm"])
    found: dict[str, dict[str, float]] = {}
    for stage in STAGES:
        name = section_name(stage)
        same = next((done for done in found if section_name(done) == name), None)
        section = training_section(cfg, stage) | {"checkpointing": False, "compile": False}
        # A batch norm of y_sem needs two items.
        standardizes = section.get("encoder", {}).get("standardize", False)
        section["micro_batch"] = max(MICRO_BATCH[name], 2 if standardizes else 1)
        if same:
            found[stage] = dict(found[same])
            continue
        with without_content():
            step = STEPS[name](section, upstream, autocast("bf16"))
            each = cost(step.run, fused)
            if name == "ldae":
                batch = section["micro_batch"]
                guided = guided_estimate(step, step.frozen[0], batch, cfg, fused)
        items = TRAINED_ON * scans * section["epochs"]
        found[stage] = _numbers(each, section["micro_batch"], items)
        spent = found[stage]["milliseconds"]
        print(f"{stage}: {spent:.1f} ms an item", file=sys.stderr, flush=True)
    for name, calls in evaluation_calls(cfg["evaluation"], TESTED * scans).items():
        found[name] = _numbers(guided, batch, calls)
    return found


def _numbers(one: Cost, batch: int, items: float) -> dict[str, float]:
    """Numbers of a stage whose call costs ``one`` for a batch, and which takes so many items.

    Milliseconds an item, share of traffic, hours, and hours of the arithmetic alone.
    """
    return {
        "milliseconds": 1e3 * one.seconds / batch,
        "traffic": 1 - one.arithmetic / one.seconds,
        "hours": one.seconds / batch * items / 3600,
        "alone": one.alone / batch * items / 3600,
    }


def guided_estimate(step: Any, unet: Any, batch: int, cfg: dict[str, Any], fused: bool) -> Cost:
    """Modelled cost of a guided noise estimate: the frozen UNet and the estimator."""
    estimator, size = step.trained[1], unet.shape.in_channels
    shape = [
        side // 2 ** (len(cfg["autoencoder"]["channels"]) - 1) for side in cfg["volumes"]["shape"]
    ]
    z, t = torch.randn(batch, size, *shape), torch.zeros(batch, dtype=torch.long)
    y = torch.randn(batch, estimator.semantic.in_features)

    def call() -> None:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            features, t_emb = unet.encode(z, t)
            unet.decode(features, t_emb, z, t)
            estimator(features, t_emb, y)

    return cost(call, fused)


def evaluation_calls(cfg: dict[str, Any], test_scans: float) -> dict[str, float]:
    """Guided calls of the reconstruction table and of the interpolation study, one scan a call.

    An unconditional call counts as a guided one, which is too much.
    """
    from ldae.diffusion.solvers import find_solver

    up_down = [find_solver(cfg["solver"]).calls(steps) for steps in cfg["ddim_steps"]]
    draws = cfg["start_noise"]["draws"]
    per_scan = sum(2 * (up + down) + draws * down for up, down in up_down)  # ldae, lddim, y_sem
    between = cfg["interpolation"]
    up, down = find_solver(between["solver"]).calls(between["ddim_steps"])
    return {
        "reconstruction": per_scan * test_scans,
        "interpolation": VISITS * up + TRIPLETS * down,
    }


def _on_defaults(config: Path) -> dict[str, Any]:
    """A configuration on top of the defaults."""
    from ldae.config import merged, read_configuration

    return merged(read_configuration(REPO / "config/config.yaml"), read_configuration(config))


def of_commit(commit: str, scans: int) -> dict[str, dict[str, float]]:
    """The result of this script with the source and the configuration of another commit."""
    with tempfile.TemporaryDirectory() as folder:
        archive = ["git", "-C", str(REPO), "archive", commit, "src", "config"]
        packed = subprocess.run(archive, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=packed)
        command = [sys.executable, __file__, "--json", "--scans", str(scans)]
        whole = Path(folder) / "whole.yaml"
        whole.write_text(yaml.safe_dump(_on_defaults(Path(folder) / "config/config.yaml")))
        command += ["--config", str(whole)]
        environment = {"PYTHONPATH": f"{folder}/src", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout)


def show(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]] | None) -> None:
    """Print the table; with the other commit's hours and the ratio, if there are any.

    The last line is a bound: the arithmetic alone, as if moving data took no time.
    """
    print(f"{'stage':<24}{'ms an item':>12}{'traffic':>9}{'GPU-hours':>11}", end="")
    print(f"{'before':>9}{'ratio':>8}" if before else "")
    totals = [0.0, 0.0]
    bound = sum(row["alone"] for row in now.values())
    for stage, row in now.items():
        line = f"{stage:<24}{row['milliseconds']:>12.1f}{row['traffic']:>9.0%}{row['hours']:>11.1f}"
        totals[0] += row["hours"]
        if before:
            totals[1] += before[stage]["hours"]
            line += f"{before[stage]['hours']:>9.1f}{row['hours'] / before[stage]['hours']:>8.2f}"
        print(line)
    for label, hours in {"all": totals[0], "all, without any traffic": bound}.items():
        last = f"{label:<24}{'':>12}{'':>9}{hours:>11.1f}"
        print(last + (f"{totals[1]:>9.1f}{hours / totals[1]:>8.2f}" if before else ""))


def main() -> None:
    """Read the arguments, follow the steps, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", help="an earlier commit to compare with")
    parser.add_argument("--scans", type=int, default=10340, help="of the cohort (Table 1)")
    parser.add_argument(
        "--config", type=Path, default=REPO / "config/config.yaml", help="on top of the defaults"
    )
    parser.add_argument("--eager", action="store_true", help="normalisations as single operators")
    parser.add_argument(
        "--json", action="store_true", help="numbers alone, of a whole configuration; for --base"
    )
    arguments = parser.parse_args()
    # An earlier commit's source reads one whole file: it may know nothing of what follows.
    whole = arguments.json
    cfg = yaml.safe_load(arguments.config.read_text()) if whole else _on_defaults(arguments.config)
    now = item_seconds(cfg, arguments.scans, not arguments.eager)
    if arguments.json:
        print(json.dumps(now))
        return
    show(now, of_commit(arguments.base, arguments.scans) if arguments.base else None)


if __name__ == "__main__":
    main()
