"""Callbacks and diagnostics of a training: curves, pictures, collapse flags, probes."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from helpers.training import objective, settings, weights
from ldae.training.callbacks import Pictures, contact_sheet
from ldae.training.diagnostics import (
    LatentActivity,
    OnlineProbes,
    code_flags,
    code_spread,
    latent_flags,
)
from ldae.training.distributed.signals import Interrupted
from ldae.training.loop import fit
from ldae.training.trackers.tensorboard import TensorBoard
from ldae.training.validation import by_quartile


def events(folder) -> list[tuple[int, str]]:
    """(step, tag) of every value in the event files of a folder, in the order written."""
    found = []
    for file in sorted(folder.iterdir()):
        data, offset = file.read_bytes(), 0
        while offset < len(data):
            length = int.from_bytes(data[offset : offset + 8], "little")
            event = Event.FromString(data[offset + 12 : offset + 12 + length])
            found += [(event.step, value.tag) for value in event.summary.value]
            offset += 16 + length
    return found


def test_tensorboard_logs_curves_and_pictures_without_changing_training(chain, tmp_path):
    plain, cfg = objective(chain, "ldae")
    fit(plain, settings("ldae", cfg, tmp_path / "plain"))
    interrupted, cfg = objective(chain, "ldae", sample_every=1)
    first = settings("ldae", cfg, tmp_path / "run", stop_after=2)
    out = tmp_path / "run/model"
    (out / "samples").mkdir(parents=True)
    (out / "samples/epoch-0099.png").write_text("of an earlier training")
    with pytest.raises(Interrupted):
        fit(interrupted, first, callback=TensorBoard(out, "ldae"))
    resumed, cfg = objective(chain, "ldae", sample_every=1)
    fit(resumed, settings("ldae", cfg, tmp_path / "run"), callback=TensorBoard(out, "ldae"))
    for key, value in weights(plain).items():
        assert torch.equal(weights(resumed)[key], value), key
    assert sorted(p.name for p in (out / "samples").iterdir()) == [
        "epoch-0001.png",
        "epoch-0002.png",
    ]
    logged = events(out / "tensorboard")
    assert {(step, "ldae/step/loss") for step in (1, 2, 3)} <= set(logged)
    assert (3, "ldae/epoch/val_ssim") in logged
    assert (3, "ldae/epoch/grad_norm") in logged
    assert (3, "ldae/epoch/samples_per_second") in logged
    assert (3, "ldae/samples") in logged


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
    assert (chain[0] / "ldm/samples/epoch-0002.png").is_file()  # by the stage: sample_every is 2


def test_contact_sheet_shows_middle_slice_anterior_up_and_left_on_right():
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


def test_by_quartile_splits_losses_by_timestep():
    losses, t = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0, 249, 250, 999])
    parts = by_quartile(losses, t, 1000)
    assert {k: (float(p.total), int(p.count)) for k, p in parts.items()} == {
        "loss_q1": (3.0, 2),
        "loss_q2": (4.0, 1),
        "loss_q3": (0.0, 0),
        "loss_q4": (8.0, 1),
    }


def test_latent_flags_report_posterior_collapse():
    generator = torch.Generator().manual_seed(0)
    activity = LatentActivity()
    for _ in range(3):  # channel 0 depends on the scan, channel 1 is the prior
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


def make_index(count):
    """Two scans a subject; CN, MCI and AD in turn; the age of every fifth is unknown."""
    subject = np.repeat(np.arange(count), 2)
    age = np.where(subject % 5 == 4, np.nan, 60.0 + subject)
    diagnosis = np.array(["CN", "MCI", "AD"])[subject % 3]
    return pd.DataFrame({"participant_id": subject, "diagnosis": diagnosis, "age": age})


def choose_probes(count, most):
    """Online probes of subjects of whom the last third is the validation split."""
    rows = np.arange(2 * count)
    return OnlineProbes.choose(make_index(count), *np.split(rows, [2 * (count * 2 // 3)]), most)


def test_online_probes_score_informative_codes_above_noise():
    probes = choose_probes(90, 60)
    assert len(probes.rows) == 60 + 48
    assert set(probes.rows[~probes.held]) <= set(range(120))
    assert set(probes.rows[probes.held]) <= set(range(120, 180))
    # Every subject with a known age comes before second scans.
    assert len(set(probes.subjects[~probes.held])) == 48
    assert not np.isnan(probes.age).any()
    noise = torch.randn(108, 8, generator=torch.Generator().manual_seed(0))
    signal = noise.clone()
    signal[:, 0] = 3 * torch.from_numpy(probes.diagnosis == "AD")
    signal[:, 1] = torch.from_numpy(probes.age / 10)
    informative, uninformative = probes.measures(signal), probes.measures(noise)
    assert min(informative["probe_auroc"], informative["probe_age_r"]) > 0.95
    assert uninformative["probe_auroc"] < 0.75
    assert abs(uninformative["probe_age_r"]) < 0.5


def test_online_probes_do_not_memorise_subjects():
    probes = choose_probes(90, 200)
    own = torch.from_numpy((probes.subjects[:, None] == np.arange(90)).astype(float))
    assert probes.measures(own) == {"probe_auroc": 0.5}


def test_online_probes_are_omitted_for_too_few_subjects():
    probes = choose_probes(30, 60)
    assert probes.measures(torch.randn(len(probes.rows), 4)).keys() == {"probe_age_r"}
    assert choose_probes(30, 0).measures(torch.empty(0, 4)) == {}


def test_code_flags_report_collapse_and_idle_guidance():
    generator = torch.Generator().manual_seed(0)
    losses = {"loss": 0.1, "loss_frozen": 0.2}
    codes = torch.randn(8, 16, generator=generator)
    subjects = [f"sub-{i}" for i in range(8)]
    spread = code_spread(codes, subjects)
    assert spread["y_rank"] > 4
    assert code_flags(spread | losses, 8) == []
    rank_one = codes[:, :1] * torch.randn(1, 16, generator=generator)
    assert code_spread(rank_one, subjects)["y_rank"] == pytest.approx(1.0)
    (flag,) = code_flags(code_spread(rank_one, subjects) | losses, 8)
    assert "one direction" in flag
    (flag,) = code_flags(code_spread(1000 + codes * 0.1, subjects) | losses, 8)
    assert "nearly the same" in flag
    (flag,) = code_flags(spread | {"loss": 0.2, "loss_frozen": 0.2}, 8)
    assert "idle" in flag
    assert code_spread(codes, ["sub-0"] * 8) == {}
    twice = torch.cat([codes + 1, codes - 1])  # two visits, further apart than the subjects
    assert code_spread(twice, subjects * 2) == pytest.approx(spread)
    assert code_flags(losses, 1) == []


def test_fit_logs_and_returns_flags(chain, tmp_path, caplog):
    made, cfg = objective(chain, "ldm")
    made.flags = lambda metrics: ["too good"] if metrics["loss"] < 100 else []
    with caplog.at_level(logging.WARNING):
        trained = fit(made, settings("ldm", cfg, tmp_path))
    assert trained.flags == ["too good"]
    assert "ldm epoch 2: too good" in caplog.text
