"""Compilation of a training: on where a first step proves equal, else off with a reason."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from helpers.networks import PAPER
from helpers.training import assert_same, objective, settings, weights
from ldae.config import AUTO
from ldae.data.augmentation import SEEN, Augmentation, Augmented
from ldae.training import compile_choice
from ldae.training.compile_choice import choose_compile, first_items, try_compile
from ldae.training.distributed.processes import Processes


def broken(module, inputs):
    raise RuntimeError("no compiler here")


def wrong(module, inputs):
    """A backend whose results are a tenth too large."""

    def run(*args):
        return tuple(
            1.1 * out if torch.is_tensor(out) and out.is_floating_point() else out
            for out in module(*args)
        )

    return run


@pytest.mark.parametrize(
    ("backend", "compiles", "reason"),
    [
        ("eager", True, "agrees"),
        (broken, False, "no compiler here"),
        (wrong, False, "a compiled first step differs: its gradient by"),
    ],
)
def test_networks_are_compiled_only_where_a_first_step_agrees(
    chain, tmp_path, backend, compiles, reason
):
    made, cfg = objective(chain, "ldm")
    before = weights(made)
    chosen = try_compile(made, settings("ldm", cfg, tmp_path), Processes(), backend)
    assert chosen.compiles is compiles and reason in chosen.reason
    compiled = [m for m in made.model.modules() if m._compiled_call_impl is not None]
    assert bool(compiled) is compiles
    assert_same(before, weights(made))  # also those that a first step fills
    assert all(p.grad is None for p in made.model.parameters())


def test_first_items_begin_again_and_are_augmented_like_the_training():
    scans = [{"volume": torch.full((1, 4, 4, 4), value)} for value in (0.25, 0.5)]
    assert [float(item["volume"].max()) for item in first_items(scans, 3)] == [0.25, 0.5, 0.25]
    changes = Augmentation(PAPER["augmentation"] | {"probability": 1.0}, spacing=2.0)
    data = Augmented(scans, changes, seed=0, stage="ldae")
    first, _, again = first_items(data, 3)
    assert torch.equal(first[SEEN], data[0, 0][SEEN])
    assert torch.equal(again["volume"], first["volume"])
    assert not torch.equal(again[SEEN], first[SEEN])


def test_choice_of_a_gpu_is_kept_and_a_cpu_never_compiles(chain, tmp_path, monkeypatch):
    made, cfg = objective(chain, "ldm")
    given = settings("ldm", cfg | {"compile": AUTO}, tmp_path)
    assert choose_compile(made, given, Processes()).startswith("off: a CPU")
    assert choose_compile(made, replace(given, cfg=cfg), Processes()) is None
    made.compute = SimpleNamespace(cuda=True)
    tried = []

    def failing(*args):
        tried.append(args)
        return compile_choice.CompileChoice(False, "it differs")

    monkeypatch.setattr(compile_choice, "try_compile", failing)
    assert choose_compile(made, given, Processes()) == "off: it differs"
    (tmp_path / "0123").mkdir()
    (tmp_path / "0123/identity.json").write_text("{}")
    assert choose_compile(made, given, Processes()) == "off: it differs"
    assert len(tried) == 1  # not tried again while there are checkpoints
