"""Augmentation: changes of the scans that encoders see, the same ones after an interruption."""

import numpy as np
import pytest
import torch

from helpers.networks import PAPER
from helpers.training import assert_same, objective, saved, settings, weights, without_timing
from ldae.data.augmentation import SEEN, Augmentation, Augmented
from ldae.data.sampling import Sampler
from ldae.models.card import departures
from ldae.report.methods import augmentation
from ldae.training.distributed.signals import Interrupted
from ldae.training.loop import fit
from ldae.training.settings import model_settings, training_section

OFF = dict.fromkeys(PAPER["augmentation"], 0.0)
ON = PAPER["augmentation"] | {"probability": 1.0}
SPACING = 2.0


def ball(side: int = 24) -> torch.Tensor:
    """A ball (1, side, side, side) of 0.5, brighter at high x, in empty space."""
    axes = torch.linspace(-1, 1, side)
    x, y, z = torch.meshgrid(axes, axes, axes, indexing="ij")
    return ((0.5 + 0.3 * x) * (x**2 + y**2 + z**2 < 0.4))[None]


def changed(seed: int = 0, **strengths: float) -> torch.Tensor:
    return Augmentation(OFF | {"probability": 1.0} | strengths, SPACING)(ball(), seed)


def centre(x: torch.Tensor) -> np.ndarray:
    """Centre of the non-zero voxels in mm."""
    return SPACING * (x[0] > 0).nonzero().double().mean(0).numpy()


def test_brain_stays_in_empty_space_and_within_zero_and_one():
    augmentation, x = Augmentation(ON | {"noise": 0.5, "bias_field": 1.0}, SPACING), ball()
    before = x.clone()
    seen = augmentation(x, 3)
    assert torch.equal(x, before)
    assert (seen.shape, seen.dtype, type(seen)) == (x.shape, torch.float32, torch.Tensor)
    assert seen.min() == 0 and seen.max() == 1 and not torch.equal(seen, x)
    assert 0.7 < (seen > 0).sum() / (x > 0).sum() < 1.4
    corner = seen[0, :3, :3, :3]
    assert not corner.any()


def test_draws_depend_on_the_seed_alone():
    augmentation = Augmentation(ON, SPACING)
    first = augmentation(ball(), 1)
    torch.manual_seed(9)
    np.random.seed(9)  # noqa: NPY002
    other = augmentation(ball(), 2)
    assert not torch.equal(first, other)
    assert torch.equal(augmentation(ball(), 1), first)
    assert torch.equal(Augmentation(ON, SPACING)(ball(), 1), first)


def test_strength_of_zero_and_chance_of_zero_change_nothing():
    assert torch.equal(changed(), ball())
    assert torch.equal(Augmentation(ON | {"probability": 0.0}, SPACING)(ball(), 0), ball())


def test_translation_is_in_millimetres_and_scaling_a_fraction():
    moves = np.array([centre(changed(seed, translation=4.0)) for seed in range(8)])
    moves -= centre(ball())
    assert 2.0 < np.abs(moves).max() < 4.5
    sizes = [(changed(seed, scaling=0.2) > 0.2).sum() / (ball() > 0).sum() for seed in range(8)]
    assert 0.5 < min(sizes) < 0.95 and 1.05 < max(sizes) < 2.0
    assert (
        np.abs([centre(changed(seed, rotation=20.0)) - centre(ball()) for seed in range(4)]).max()
        < 1
    )


def test_flip_exchanges_left_and_right_with_its_own_chance():
    assert torch.equal(changed(probability=0.0, flip=1.0), ball().flip(1))
    flipped = [torch.equal(changed(seed, flip=0.5), ball().flip(1)) for seed in range(16)]
    assert 2 < sum(flipped) < 14


def test_intensities_change_as_named():
    brain = ball() > 0
    noisy = [(changed(seed, noise=0.1) - ball())[brain].std() for seed in range(8)]
    assert 0.05 < max(noisy) < 0.11
    bright = changed(contrast=0.5)[brain]
    order = ball()[brain].argsort()
    assert (bright[order].diff() >= -1e-6).all() and not torch.allclose(bright, ball()[brain])
    fields = torch.stack(
        [(changed(seed, bias_field=0.1)[brain] / ball()[brain]).log() for seed in range(16)]
    )
    assert 0.05 < fields.std() < 0.15
    near = ((changed(bias_field=0.1) / ball()).log()).nan_to_num()[0, 8:16, 8:16, 8:16].diff(dim=0)
    assert near.abs().max() < 0.05  # smooth


# --- settings of trainings ----------------------------------------------------------------------


def test_only_encoders_that_learn_are_augmented_and_off_leaves_no_trace():
    on = PAPER | {"augmentation": ON}
    for stage in ("autoencoder", "ldm", "ldae", "dae", "supervised_diagnosis", "supervised_age"):
        without = {key: value for key, value in PAPER.items() if key != "augmentation"}
        assert training_section(PAPER, stage) == training_section(without, stage)
        expected = {} if stage in ("autoencoder", "ldm") else {"augmentation": ON}
        section = training_section(on, stage)
        assert section == training_section(PAPER, stage) | expected
        assert expected.items() <= model_settings(section).items()
    flips = PAPER | {"augmentation": OFF | {"flip": 0.5}}
    assert training_section(flips, "dae")["augmentation"]["flip"] == 0.5
    encoder = PAPER["ldae"]["encoder"]
    for kind, present in (("components", False), ("both", True)):
        other = on | {"ldae": PAPER["ldae"] | {"encoder": encoder | {"kind": kind}}}
        assert ("augmentation" in training_section(other, "ldae")) == present


def test_card_names_the_departure():
    card = {"kind": "dae", "architecture": {}, "config": {"augmentation": ON}}
    assert departures(card) == ["training scans augmented as the semantic encoder sees them"]
    assert departures(card | {"config": {}}) == []


# --- trainings ----------------------------------------------------------------------------------


def test_places_do_not_depend_on_micro_batch_and_processes():
    drawn = {}
    for micro, processes in ((4, 1), (2, 1), (1, 2)):
        found = []
        for step in range(5):
            for rank in range(processes):
                sampler = Sampler("dae", 6, 4, micro, 1, processes, rank)
                found += [
                    one for batch in sampler.placed_micro_batches(step, step + 1) for one in batch
                ]
        drawn[micro, processes] = found
    (first, *others) = drawn.values()
    assert all(other == first for other in others)
    assert [place for _, place in first] == list(range(20))


@pytest.mark.parametrize("stage", ["ldae", "dae", "supervised_age"])
def test_target_is_the_scan_as_it_is(chain, stage):
    plain, augmented = (
        objective(chain, stage, **more)[0].dataset() for more in ({}, {"augmentation": ON})
    )
    assert isinstance(augmented, Augmented) and len(augmented) == len(plain)
    item = augmented[2, 7]
    seen = item.pop(SEEN)
    assert_same(item, plain[2])
    assert seen.shape == item["volume"].shape and not torch.allclose(seen, item["volume"])
    assert torch.equal(augmented[2, 7][SEEN], seen)
    assert not torch.equal(augmented[2, 8][SEEN], seen)


@pytest.mark.parametrize(
    ("stage", "workers"), [("ldae", 2), ("dae", 0), ("supervised_diagnosis", 2)]
)
def test_resumed_training_sees_the_same_changes(chain, stage, workers, tmp_path):
    more = {"augmentation": ON}
    whole, cfg = objective(chain, stage, **more)
    trained = fit(whole, settings(stage, cfg, tmp_path / "whole"))
    stopped, cfg = objective(chain, stage, workers=workers, **more)
    with pytest.raises(Interrupted):
        fit(stopped, settings(stage, cfg, tmp_path, stop_after=1))
    assert saved(tmp_path).steps() == [1]
    resumed, cfg = objective(chain, stage, workers=workers, **more)
    again = fit(resumed, settings(stage, cfg, tmp_path))
    assert_same(weights(whole), weights(resumed))
    assert without_timing(trained.history) == without_timing(again.history)
    plain, cfg = objective(chain, stage)
    other = fit(plain, settings(stage, cfg, tmp_path / "plain"))
    assert other.history[-1]["train_loss"] != trained.history[-1]["train_loss"]


def test_methods_name_the_changes():
    assert augmentation({}) == ""
    text = augmentation({"augmentation": ON | {"flip": 0.5, "noise": 0.0}})
    assert "each with probability 1: rotation up to 5°, translation up to 3 mm" in text
    assert "a power of 1.2" in text and "noise" not in text
    assert text.endswith("left and right exchanged with probability 0.5.")
