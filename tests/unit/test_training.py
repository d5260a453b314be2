"""Training loop and the three objectives, on networks of a few thousand weights."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.stores import write_store
from helpers.training import (
    AUTOENCODER,
    LDM,
    STATELESS,
    assert_same,
    objective,
    saved,
    settings,
    weights,
)
from ldae.compute import Compute, gpu_number, require_bf16, use_channels_last
from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.files import read_table
from ldae.training.distributed.signals import Interrupted
from ldae.training.divergence import PATIENCE, DivergenceDetector
from ldae.training.ema import Ema, recalibrate
from ldae.training.loop import fit
from ldae.training.objectives.autoencoder import kl_divergence
from ldae.training.optimizer_step import lr_schedule
from ldae.training.validation import interleave_subjects, quartile_draws


@pytest.mark.parametrize("stage", ["ldm", "ldae"])
def test_gradient_accumulation_equals_one_large_batch(chain, stage, tmp_path):
    changes = STATELESS[stage]
    gradients = []
    for micro in (2, 4):
        made, cfg = objective(chain, stage, micro_batch=micro, **changes)
        torch.manual_seed(0)
        for module in made.modules().values():
            for dropout in filter(lambda m: isinstance(m, torch.nn.Dropout), module.modules()):
                dropout.p = 0.0  # its draws depend on the micro-batch
            for weight in module.parameters():  # layers that start at zero stop the gradient
                weight.data += 0.05 * torch.randn_like(weight)
        with pytest.raises(Interrupted):
            fit(made, settings(stage, cfg, tmp_path / f"{micro}", stop_after=1))
        gradients.append(
            {
                f"{name}.{key}": weight.grad
                for name, module in made.modules().items()
                for key, weight in module.named_parameters()
            }
        )
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name
    assert all(gradient.abs().max() > 0 for gradient in gradients[0].values())


def test_activation_checkpointing_does_not_change_training(chain, tmp_path):
    trained = []
    for checkpointing in (False, True):
        made, cfg = objective(chain, "ldae", **STATELESS["ldae"], checkpointing=checkpointing)
        assert made.guided.estimator.up.checkpointing == checkpointing
        fit(made, settings("ldae", cfg, tmp_path / str(checkpointing)))
        trained.append(weights(made))
    for key, value in trained[0].items():
        assert torch.allclose(value, trained[1][key], atol=1e-6), key


def test_ema_follows_its_formula_and_skips_frozen_weights():
    module = torch.nn.Linear(2, 1)
    module.bias.requires_grad_(False)
    ema = Ema({"net": module}, decay=0.9)
    assert list(ema.shadow) == ["net.weight"]
    values = [module.weight.detach().clone()]
    for _ in range(3):
        with torch.no_grad():
            module.weight += torch.rand_like(module.weight)
        ema.update()
        values.append(module.weight.detach().clone())
    expected = values[0]
    for value in values[1:]:
        expected = 0.9 * expected + 0.1 * value
    assert torch.allclose(ema.shadow["net.weight"], expected)
    with ema.applied():
        assert torch.allclose(module.weight, expected)
    assert torch.equal(module.weight, values[-1])


def test_frozen_denoiser_is_unchanged_while_guidance_learns(chain, tmp_path):
    made, cfg = objective(chain, "ldae")
    frozen = {key: value.clone() for key, value in made.guided.unet.state_dict().items()}
    before = weights(made)
    fit(made, settings("ldae", cfg, tmp_path))
    assert_same(frozen, made.guided.unet.state_dict())
    after = weights(made)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert any(key.startswith("encoder.backbone") for key in changed)
    assert any(key.startswith("estimator.") for key in changed)
    assert not any("unet" in key for key in after)


def overfit(chain, stage, run_dir, **changes):
    """Train on two scans, validate on the same two at the end; returns history and objective."""
    changes = {"batch_size": 2, "learning_rate": 1e-2, "validate_every": 1000} | changes
    made, cfg = objective(chain, stage, **changes)
    made.train_rows = made.val_rows = made.train_rows[:2]
    made.val_subjects = ["sub-0", "sub-1"]
    return fit(made, settings(stage, cfg, run_dir)).history, made


def test_autoencoder_overfits_two_scans(chain, tmp_path):
    reconstruction_only = {
        "perceptual": AUTOENCODER["perceptual"] | {"net": None},
        "adversarial": AUTOENCODER["adversarial"] | {"weight": 0.0},
        "grad_clip": None,
    }
    history, made = overfit(chain, "autoencoder", tmp_path, epochs=100, **reconstruction_only)
    x = made.volumes.volumes(made.train_rows)
    flat = (x - x.mean()).abs().mean().item()  # error of the best constant volume
    assert history[-1]["val_l1"] < 0.35 * flat
    assert history[-1]["val_l1"] < 0.15 * history[0]["train_l1"]


def test_adversarial_loss_starts_at_start_epoch(chain):
    history = read_table(chain[0] / "autoencoder/history.tsv")
    for name in ("train_adversarial", "train_discriminator"):
        assert history[name].notna().tolist() == [False, True]  # start_epoch 1


def test_ldm_overfits_two_scans(chain, tmp_path):
    history, made = overfit(chain, "ldm", tmp_path, epochs=80, **STATELESS["ldm"])
    assert history[-1]["val_loss"] < 0.25 * history[0]["train_loss"]
    # With z_0 unknown but white, sqrt(1 - ab) z_t is the best guess of eps; its error is ab.
    assert history[-1]["val_loss"] < made.schedule.alphas_cumprod.mean().item()


def test_ldm_velocity_is_predicted_about_mean_training_latent(chain):
    made, _ = objective(chain, "ldm", prediction="velocity")
    preconditioning, z_0 = made.model.preconditioning, made.latents.latents(made.train_rows)
    torch.testing.assert_close(preconditioning.mean, z_0.mean(0))
    torch.testing.assert_close(preconditioning.signal, made.schedule.alphas_cumprod.sqrt().float())
    with pytest.raises(UserError, match=r"ldm\.prediction is 'x'"):
        objective(chain, "ldm", prediction="x")


def test_lr_schedule_warms_up_and_decays_by_cosine(chain, tmp_path):
    rate = lr_schedule("cosine", 1000, "ldae")
    assert [rate(9), rate(500)] == pytest.approx([0.5, 0.5], abs=0.01)
    assert rate(20) > 0.99
    assert 0 < rate(999) < 1e-4
    assert lr_schedule("none", 1000, "ldae")(999) == 1.0
    changes = {"decay": "cosine", "encoder_learning_rate": 1e-4, "epochs": 4}
    made, cfg = objective(chain, "ldae", **changes)
    history = fit(made, settings("ldae", cfg, tmp_path)).history
    rates = [row["learning_rate"] for row in history]
    assert sorted(rates, reverse=True) == rates
    assert rates[-1] < 0.2 * cfg["learning_rate"]
    assert made.groups["encoder"].learning_rate == 1e-4


def test_ldae_guidance_overfits_two_scans(chain, tmp_path):
    history, made = overfit(chain, "ldae", tmp_path, epochs=80, **STATELESS["ldae"])
    last = history[-1]
    assert last["val_loss"] < 0.25 * last["val_loss_frozen"]
    assert last["val_loss_frozen"] == pytest.approx(history[0]["train_loss"], rel=0.5)
    flags = made.flags({k.removeprefix("val_"): v for k, v in last.items()})
    assert not any("idle" in flag for flag in flags)


def test_balanced_timesteps_keep_expected_loss_of_uniform_ones(chain):
    """Probability times loss weight is 1 / T at every t, and t is drawn by these probabilities."""
    made, _ = objective(chain, "ldae", steps="balanced")
    steps = made.schedule.timesteps
    probabilities = made.chances / made.chances.sum()
    t = torch.arange(steps)
    loss_weights = made.evenly(t, torch.zeros(steps, dtype=torch.float64))
    assert torch.allclose(probabilities * loss_weights, torch.full_like(probabilities, 1 / steps))
    drawn = made.draw(torch.Generator().manual_seed(0), 3000)["t"]
    counts = drawn.flatten().bincount(minlength=steps)
    halves = [part.sum().item() for part in probabilities.split(steps // 2)]
    assert abs(halves[0] - 0.5) > 0.1
    assert counts[: steps // 2].sum().item() / drawn.numel() == pytest.approx(halves[0], abs=0.03)


def test_estimator_receives_float32_codes_under_autocast(chain, tmp_path):
    made, cfg = objective(chain, "ldae", precision="bf16")
    dtypes = set()
    made.guided.estimator.semantic.register_forward_hook(
        lambda module, inputs, output: dtypes.add((inputs[0].dtype, output.dtype))
    )
    with pytest.raises(Interrupted):
        fit(made, settings("ldae", cfg, tmp_path, stop_after=1))
    assert dtypes == {(torch.float32, torch.float32)}


def test_ema_recalibrates_batch_norm_once_per_validation(chain, tmp_path, monkeypatch):
    made, cfg = objective(chain, "ldae", sample_every=1)
    calls = []

    def count_call(*args):
        calls.append(args)
        recalibrate(*args)

    monkeypatch.setattr("ldae.training.ema.recalibrate", count_call)
    # 2 epochs; each has one validation for metrics, pictures and the best weights.
    fit(made, settings("ldae", cfg, tmp_path))
    assert len(calls) == 2


def test_ema_recalibrates_batch_norm_also_in_training_mode(chain):
    encoder = objective(chain, "ldae")[1]["encoder"] | {"standardize": True}
    made, _ = objective(chain, "ldae", encoder=encoder)
    variances = []
    for training in (False, True):
        made.encoder.train(training)
        with made.as_judged():
            variances.append(made.encoder.standardize.running_var.clone())
            assert not made.encoder.training
        assert made.encoder.training is training
    torch.testing.assert_close(variances[0], variances[1])
    assert variances[0].max() < 0.5  # of raw codes; that of standardised ones is 1


def test_interleave_subjects_puts_one_scan_of_each_first():
    subjects = pd.Series(["x", "a", "a", "a", "b", "c", "b"])
    rows = np.arange(1, 7)
    assert interleave_subjects(rows, subjects).tolist() == [1, 4, 5, 2, 6, 3]
    assert interleave_subjects(rows[:0], subjects).tolist() == []


def test_kl_divergence_matches_torch():
    mean, std = torch.randn(3, 2, 4, 4, 4), torch.rand(3, 2, 4, 4, 4) + 0.1
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, std), normal(0.0, 1.0))
    assert torch.allclose(kl_divergence(mean, std), expected.sum() / 3, rtol=1e-4)


def test_quartile_draws_cover_quartiles_and_are_fixed_per_scan():
    steps, noise = quartile_draws(["a", "b"], (2, 4, 4, 4), 1000, seed=1)
    assert (steps // 250).tolist() == [[0, 1, 2, 3]] * 2
    assert noise.shape == (2, 4, 2, 4, 4, 4)
    alone = quartile_draws(["b"], (2, 4, 4, 4), 1000, seed=1)
    assert torch.equal(alone[0][0], steps[1])
    assert torch.equal(alone[1][0], noise[1])


@pytest.mark.parametrize("stage", ["ldm", "ldae", "dae"])
def test_validation_ignores_added_test_subject(chain, stage, tmp_path):
    """Its position in the store must not matter, so that an interrupted training resumes."""
    root, configs = chain
    for kind, names in ((VolumeStore, ["volumes"]), (LatentStore, ["mean", "std"])):
        store = kind(root / kind.made_by)
        first = store.index.iloc[[0]].assign(scan_id="new", participant_id="new", split="test")
        index = pd.concat([first, store.index], ignore_index=True)
        files = sorted(path for path in store.folder.rglob("*.npy") if "rows" not in path.parts)
        loaded = [np.load(path) for path in files]
        arrays = [np.concatenate(loaded)] if kind is VolumeStore else loaded
        more = {name: np.concatenate([a[:1], a]) for name, a in zip(names, arrays, strict=True)}
        write_store(tmp_path / kind.made_by, index, store.card, **more)
    for name in ("autoencoder", "ldm"):
        (tmp_path / name).symlink_to(root / name)
    made = [objective((top, configs), stage, **STATELESS[stage])[0] for top in (root, tmp_path)]
    one, other = (each.validate(lambda: None) for each in made)
    assert one == other


def test_non_finite_loss_stops_training_and_keeps_checkpoint(chain, tmp_path):
    made, cfg = objective(chain, "ldm", learning_rate=1e30, epochs=4)
    with pytest.raises(UserError, match=r"checkpoint-\d+\.pt .* ldm\.precision: fp32"):
        fit(made, settings("ldm", cfg, tmp_path, checkpoint_seconds=0))
    checkpoint = saved(tmp_path).latest()
    assert all(torch.isfinite(value).all() for value in checkpoint["modules"]["unet"].values())


def test_channels_last_covers_2d_and_3d_convolutions_and_keeps_results(chain):
    made, _ = objective(chain, "ldae")
    x = VolumeStore(chain[0] / "volumes").volumes(np.arange(2))
    made.encoder.eval()
    with torch.inference_mode():
        before = made.encoder(x)
    use_channels_last(made.encoder)
    use_channels_last(made.guided)
    weights = [
        p for m in (made.encoder, made.guided) for p in m.parameters() if p.shape[1:2] > (1,)
    ]
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    assert {weight.ndim for weight in weights} >= {4, 5}
    for weight in weights:
        if weight.ndim in layouts:
            assert weight.is_contiguous(memory_format=layouts[weight.ndim])
    with torch.inference_mode():
        assert torch.allclose(made.encoder(x), before, atol=1e-5)


def test_training_refuses_invalid_batch_processes_and_device(chain, tmp_path):
    for changes, message in (
        ({"micro_batch": 3}, r"ldm\.batch_size is 4.* 3 x 1 = 3; use 3 or 6"),
        ({"processes": 3}, r"ldm\.processes = 2 x 3 = 6; use 6"),
    ):
        with pytest.raises(UserError, match=message):
            settings("ldm", LDM | changes, tmp_path)
    made, cfg = objective(chain, "ldm", batch_size=8)
    with pytest.raises(UserError, match="only 6 scans"):
        fit(made, settings("ldm", cfg, tmp_path))
    if not torch.cuda.is_available():
        message = "sees no GPU" if torch.backends.cuda.is_built() else "make env TORCH=cuda"
        with pytest.raises(UserError, match=message):
            Compute.prepare("cuda", 1, "fp32")
    with pytest.raises(UserError, match="fp8"):
        Compute.prepare("cpu", 1, "fp8")


def test_gpu_number_is_one_per_process_and_gpu_must_support_bf16():
    assert [gpu_number(rank, 4, slurm_task=False) for rank in range(4)] == [0, 1, 2, 3]
    assert gpu_number(3, 1, slurm_task=True) == 0  # Slurm shows each task only its own GPU
    assert gpu_number(3, 4, slurm_task=True) == 3
    for slurm_task, visible in ((False, 1), (True, 2)):
        with pytest.raises(UserError, match=f"sees {visible} GPU"):
            gpu_number(3, visible, slurm_task)
    require_bf16("bf16", True, "new")
    require_bf16("fp16", False, "old")
    with pytest.raises(UserError, match=r"\(old\).*precision: fp16, or fp32"):
        require_bf16("bf16", False, "old")


def test_fp16_skips_overflowing_step_and_learns_in_others(chain, tmp_path):
    changes = {"precision": "fp16", "epochs": 3, "validate_every": 3, "batch_size": 2}
    made, cfg = objective(chain, "ldm", **changes)
    scaler, before = made.compute.scaler, weights(made)
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0**22})  # gradients overflow
    with pytest.raises(Interrupted):
        fit(made, settings("ldm", cfg, tmp_path, stop_after=1))
    assert_same(before, weights(made))
    again, cfg = objective(chain, "ldm", **changes)
    trained = fit(again, settings("ldm", cfg, tmp_path))
    assert again.compute.scaler.get_scale() < 2.0**21  # halved, and restored from the checkpoint
    norms = [row["grad_norm"] for row in trained.history if np.isfinite(row["grad_norm"])]
    assert norms
    assert max(norms) < 100  # of unscaled gradients
    after = weights(again)
    assert any(not torch.equal(before[key], after[key]) for key in before)


def test_divergence_detector_stops_diverging_loss_but_not_single_peak():
    def last_good() -> str:
        return "kept"

    detector = DivergenceDetector("ldm", "fp32")
    for step in range(100):
        detector.check(step, {"loss": 1.0 + step % 3}, {"main": 1.0}, last_good)
    for step in (100, 102):
        detector.check(step, {"loss": 1000.0}, {"main": 1.0}, last_good)
        assert detector.suspicious
        detector.check(step + 1, {"loss": 1.0}, {"main": 1.0}, last_good)
        assert not detector.suspicious
    state = detector.state_dict()
    resumed = DivergenceDetector("ldm", "fp32")
    resumed.load_state_dict(state)
    for step in range(PATIENCE - 1):
        resumed.check(step, {"loss": 50.0}, {"main": 1.0}, last_good)
    with pytest.raises(UserError, match=r"diverges.*kept\. .*ldm\.learning_rate"):
        resumed.check(200, {"loss": 50.0}, {"main": 1.0}, last_good)
