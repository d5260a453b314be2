"""What a training shows while it runs: curves, pictures, flags."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from helpers.training import objective, settings, weights
from ldae.training.callbacks import Pictures, TensorBoard, contact_sheet
from ldae.training.diagnostics import (
    LatentActivity,
    OnlineProbes,
    code_flags,
    code_spread,
    latent_flags,
)
from ldae.training.distributed.signals import Interrupted
from ldae.training.loop import fit
from ldae.training.validation import by_quartile


def events(folder) -> list[tuple[int, str]]:
    """(step, name) of everything in the event files of a folder, in the order of their making."""
    found = []
    for file in sorted(folder.iterdir()):
        data, place = file.read_bytes(), 0
        while place < len(data):
            length = int.from_bytes(data[place : place + 8], "little")
            event = Event.FromString(data[place + 12 : place + 12 + length])
            found += [(event.step, value.tag) for value in event.summary.value]
            place += 16 + length
    return found


def test_curves_and_pictures_are_written_and_change_nothing(chain, tmp_path):
    plain, cfg = objective(chain, "ldae")
    fit(plain, settings("ldae", cfg, tmp_path / "plain"))
    watched, cfg = objective(chain, "ldae", sample_every=1)
    first = settings("ldae", cfg, tmp_path / "run", stop_after=2)
    out = tmp_path / "run/model"
    (out / "samples").mkdir(parents=True)
    (out / "samples/epoch-0099.png").write_text("of an earlier training")
    with pytest.raises(Interrupted):
        fit(watched, first, callback=TensorBoard(out, "ldae"))
    again, cfg = objective(chain, "ldae", sample_every=1)
    fit(again, settings("ldae", cfg, tmp_path / "run"), callback=TensorBoard(out, "ldae"))
    for key, value in weights(plain).items():
        assert torch.equal(weights(again)[key], value), key
    assert sorted(p.name for p in (out / "samples").iterdir()) == [
        "epoch-0001.png",
        "epoch-0002.png",
    ]
    seen = events(out / "tensorboard")
    assert {(step, "ldae/step/loss") for step in (1, 2, 3)} <= set(seen)
    assert (3, "ldae/epoch/val_ssim") in seen
    assert (3, "ldae/epoch/grad_norm") in seen
    assert (3, "ldae/epoch/samples_per_second") in seen
    assert (3, "ldae/samples") in seen


def test_every_stage_has_pictures(chain):
    for stage, shape in (
        ("autoencoder", (2, 2, 16, 16, 16)),
        ("ldm", (1, 4, 16, 16, 16)),
        ("ldae", (1, 2, 16, 16, 16)),
    ):
        made, _ = objective(chain, stage, sample_every=1)
        for module in made.modules().values():
            module.eval()
        pictures = made.pictures(lambda: None)
        assert pictures.volumes.shape == shape
        assert len(pictures.columns) == shape[1]
        assert torch.equal(pictures.volumes, made.pictures(lambda: None).volumes)
    assert (chain[0] / "ldm/samples/epoch-0002.png").is_file()  # sample_every 2, by the stage


def test_a_picture_shows_the_middle_slice_anterior_up_and_left_on_the_right():
    volumes = torch.zeros(1, 2, 4, 6, 5)
    volumes[0, 1, 3, 5, 2] = 1.0  # right-most, anterior, middle slice
    volumes[0, 0, :, :, 0] = 1.0  # not in the middle slice
    sheet = np.asarray(contact_sheet(Pictures(("a", "b"), volumes)))
    zoom = 48
    body = sheet[-6 * zoom :]
    assert sheet.shape[1] == 2 * 4 * zoom
    assert isinstance(contact_sheet(Pictures(("a", "b"), volumes)), Image.Image)
    assert (body[:zoom, 4 * zoom : 5 * zoom] == 255).all()
    assert (body > 0).sum() == zoom**2


def test_losses_by_quarter_of_the_timesteps():
    losses, t = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0, 249, 250, 999])
    parts = by_quartile(losses, t, 1000)
    assert {k: (float(p.total), int(p.count)) for k, p in parts.items()} == {
        "loss_q1": (3.0, 2),
        "loss_q2": (4.0, 1),
        "loss_q3": (0.0, 0),
        "loss_q4": (8.0, 1),
    }


def test_a_collapsed_posterior_is_flagged():
    generator = torch.Generator().manual_seed(0)
    activity = LatentActivity()
    for _ in range(3):  # channel 0 speaks, channel 1 is the prior whatever the scan
        mean = torch.randn(2, 2, 4, 4, 4, generator=generator)
        mean[:, 1] *= 0.01
        std = torch.ones_like(mean)
        std[:, 0] = 0.1
        activity.add(mean, std)
    result = activity.result()
    assert result["latent_active"] == 0.5
    assert result["latent_std"] == pytest.approx(0.5**0.5, rel=0.1)
    (flag,) = latent_flags(result)
    assert flag.startswith("posterior collapse: 50%")
    assert latent_flags({"latent_active": 1.0}) == []


def people(count):
    """Two scans each of people who are CN, MCI and AD in turn; every fifth's age is unknown."""
    person = np.repeat(np.arange(count), 2)
    age = np.where(person % 5 == 4, np.nan, 60.0 + person)
    diagnosis = np.array(["CN", "MCI", "AD"])[person % 3]
    return pd.DataFrame({"participant_id": person, "diagnosis": diagnosis, "age": age})


def probed(count, most):
    """Of people whose last third is validation."""
    rows = np.arange(2 * count)
    return OnlineProbes.choose(people(count), *np.split(rows, [2 * (count * 2 // 3)]), most)


def test_probes_of_a_training_tell_codes_that_know_from_those_that_do_not():
    chosen = probed(90, 60)
    assert len(chosen.rows) == 60 + 48
    assert set(chosen.rows[~chosen.held]) <= set(range(120))
    assert set(chosen.rows[chosen.held]) <= set(range(120, 180))
    assert len(set(chosen.subjects[~chosen.held])) == 48  # all with an age; second scans only then
    assert not np.isnan(chosen.age).any()
    noise = torch.randn(108, 8, generator=torch.Generator().manual_seed(0))
    known = noise.clone()
    known[:, 0] = 3 * torch.from_numpy(chosen.diagnosis == "AD")
    known[:, 1] = torch.from_numpy(chosen.age / 10)
    knows, guesses = chosen.measures(known), chosen.measures(noise)
    assert min(knows["probe_auroc"], knows["probe_age_r"]) > 0.95
    assert guesses["probe_auroc"] < 0.75
    assert abs(guesses["probe_age_r"]) < 0.5


def test_probes_of_a_training_do_not_remember_a_subject():
    chosen = probed(90, 200)
    own = torch.from_numpy((chosen.subjects[:, None] == np.arange(90)).astype(float))
    assert chosen.measures(own) == {"probe_auroc": 0.5}


def test_probes_of_a_training_are_left_out_where_there_are_too_few_people():
    chosen = probed(30, 60)
    assert chosen.measures(torch.randn(len(chosen.rows), 4)).keys() == {"probe_age_r"}
    assert probed(30, 0).measures(torch.empty(0, 4)) == {}


def test_codes_that_do_not_tell_scans_apart_are_flagged():
    generator = torch.Generator().manual_seed(0)
    helps = {"loss": 0.1, "loss_frozen": 0.2}
    codes = torch.randn(8, 16, generator=generator)
    each = [f"sub-{i}" for i in range(8)]
    good = code_spread(codes, each)
    assert good["y_rank"] > 4
    assert code_flags(good | helps, 8) == []
    line = codes[:, :1] * torch.randn(1, 16, generator=generator)
    assert code_spread(line, each)["y_rank"] == pytest.approx(1.0)
    (flag,) = code_flags(code_spread(line, each) | helps, 8)
    assert "one direction" in flag
    (flag,) = code_flags(code_spread(1000 + codes * 0.1, each) | helps, 8)
    assert "nearly the same" in flag
    (flag,) = code_flags(good | {"loss": 0.2, "loss_frozen": 0.2}, 8)
    assert "idle" in flag
    assert code_spread(codes, ["sub-0"] * 8) == {}
    twice = torch.cat([codes + 1, codes - 1])  # two visits that differ more than the people
    assert code_spread(twice, each * 2) == pytest.approx(good)
    assert code_flags(helps, 1) == []


def test_flags_reach_the_log_and_the_outcome(chain, tmp_path, caplog):
    made, cfg = objective(chain, "ldm")
    made.flags = lambda metrics: ["too good"] if metrics["loss"] < 100 else []
    with caplog.at_level(logging.WARNING):
        trained = fit(made, settings("ldm", cfg, tmp_path))
    assert trained.flags == ["too good"]
    assert "ldm epoch 2: too good" in caplog.text
