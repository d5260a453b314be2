"""Compilation of a training: ``compile: auto`` turns torch.compile on where it proves equal.

On a GPU the networks of a step are compiled, and a first micro-batch is computed with and without
compilation: losses and gradients must agree. If they do not, or if nothing can be compiled there,
the training goes on without, and says why. On a CPU compiling takes longer than it saves. The
choice is kept beside the checkpoints (:mod:`ldae.training.choices`).
"""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from ldae.config import AUTO
from ldae.data.augmentation import Augmented
from ldae.seeds import derive_seed, generator
from ldae.training.choices import keep_choice, kept_choice
from ldae.training.distributed.processes import Processes
from ldae.training.objectives.base import Objective
from ldae.training.settings import COMPILE_CHOICE, Settings

# Largest relative difference of the gradient with and without compilation, by precision: some ten
# times what another order of the same sums makes.
TOLERANCE = {"bf16": 0.05, "fp16": 0.02, "fp32": 0.005}
REASON_LINES = 2  # of an error of torch.compile: what failed, and why
FILL = 0.02  # spread of the weights that a first step has in place of zeros
CPU = "a CPU, where compiling takes longer than it saves"
log = logging.getLogger(__name__)


class CompileChoice(NamedTuple):
    """Whether the networks are compiled, and why."""

    compiles: bool
    reason: str


def choose_compile(
    objective: Objective, settings: Settings, processes: Processes, backend: str = "inductor"
) -> str | None:
    """Compile the networks of an objective where ``compile: auto`` and it proves equal.

    Every process proves it for itself; one failure turns compilation off in all.

    Args:
        objective: Objective with networks that are not compiled.
        settings: Settings of the training.
        processes: This process among those that train together, which can communicate.
        backend: Backend of ``torch.compile``.

    Returns:
        The reason of the choice; None where the configuration has made it.
    """
    if settings.cfg["compile"] != AUTO:
        return None
    chosen = CompileChoice(False, CPU)
    if objective.compute.cuda:
        known = kept_choice(settings.run_dir, COMPILE_CHOICE)
        if known is not None and not known["compiles"]:
            chosen = CompileChoice(**known)
        else:
            chosen = try_compile(objective, settings, processes, backend)
            if processes.first:
                keep_choice(chosen._asdict(), settings.run_dir, COMPILE_CHOICE)
    log.info("%s: compile %s: %s", objective.stage, chosen.compiles, chosen.reason)
    return f"{'on' if chosen.compiles else 'off'}: {chosen.reason}"


def try_compile(
    objective: Objective, settings: Settings, processes: Processes, backend: str
) -> CompileChoice:
    """Compile the networks if a first step with and without compilation agrees in all processes."""
    import torch._dynamo

    from ldae.nets.execution import compile_parts, uncompile_parts

    if settings.compile_cache is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(settings.compile_cache)
    nets = objective.executed()
    plain = first_step(objective, settings)
    torch._dynamo.config.suppress_errors = False
    compile_parts(nets, backend)
    try:
        fault = difference(plain, first_step(objective, settings), objective.compute.precision)
    except Exception as error:  # whatever fails in a compiled step, the training goes on without
        fault = " ".join([f"{type(error).__name__}:", *str(error).split("\n")[:REASON_LINES]])
    failed = torch.tensor([float(fault is not None)], device=objective.compute.device)
    processes.sum([failed])
    if not failed:
        # Validation and a smaller last micro-batch are compiled later: what fails there runs plain.
        torch._dynamo.config.suppress_errors = True
        return CompileChoice(True, "a first step with and without compilation agrees")
    uncompile_parts(nets)
    return CompileChoice(False, fault or "another process could not compile the networks")


class FirstStep(NamedTuple):
    """Loss of a micro-batch, and its gradients on the CPU."""

    loss: float
    gradients: list[Tensor]


def first_step(objective: Objective, settings: Settings) -> FirstStep:
    """Forward and backward pass of the first scans; the networks are left as they were.

    Weights that begin at zero get small ones, because nothing would flow back through them.
    """
    compute, size = objective.compute, settings.cfg["micro_batch"]
    items = default_collate(first_items(objective.dataset(), size))
    draws = objective.draw(generator(settings.seed, objective.stage, "compile"), size)
    batch, drawn = (
        {key: compute.move(value) for key, value in part.items()} for part in (items, draws)
    )
    modules = objective.modules().values()
    weights = [p for module in modules for p in module.parameters() if p.requires_grad]
    with _kept_state(modules):
        torch.manual_seed(derive_seed(settings.seed, objective.stage, "compile"))
        for module in modules:
            module.train()
        for p in weights:
            if not p.any():
                nn.init.normal_(p, std=FILL)
        losses = objective.backward(batch, drawn, 1.0, settings.cfg["epochs"])
        gradients = [p.grad.float().cpu() for p in weights if p.grad is not None]
        for p in weights:
            p.grad = None
    return FirstStep(float(losses["loss"]), gradients)


def first_items(data: Dataset, size: int) -> list[dict[str, Tensor]]:
    """The first ``size`` items, from the first again where there are fewer; augmented if it is."""
    positions = [place % len(data) for place in range(size)]
    placed = isinstance(data, Augmented)
    return [data[(one, place) if placed else one] for place, one in enumerate(positions)]


def difference(plain: FirstStep, compiled: FirstStep, precision: str) -> str | None:
    """In words, how far a compiled step is from a plain one; None within :data:`TOLERANCE`."""
    most = TOLERANCE[precision]
    square = sum(float(g.square().sum()) for g in plain.gradients)
    pairs = zip(plain.gradients, compiled.gradients, strict=True)
    error = (sum(float((a - b).square().sum()) for a, b in pairs) / max(square, 1e-30)) ** 0.5
    loss = abs(compiled.loss - plain.loss) / max(abs(plain.loss), 1e-30)
    if error <= most and loss <= most:  # false for nan
        return None
    return (
        f"a compiled first step differs: its gradient by {error:.2%}, its loss by {loss:.2%}; "
        f"allowed are {most:.1%}"
    )


@contextmanager
def _kept_state(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within the context running statistics and zero weights may change; then they are restored."""
    kept = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    zeros = [p for module in modules for p in module.parameters() if not p.any()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
            for p in zeros:
                p.zero_()
