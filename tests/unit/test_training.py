"""The training loop and its three objectives, on networks of a few thousand weights."""

import os
import shutil
import signal
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import ldae._torchvision  # noqa: F401  before lpips
from ldae.data.embeddings import load_embeddings
from ldae.data.latent_store import LatentStore, build_latent_store
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.schedule import Schedule
from ldae.errors import UserError
from ldae.files import sha256, write_json, write_table
from ldae.modelfile import load_autoencoder, load_card, load_ldae, load_ldm, load_state, save_model
from ldae.training.autoencoder import AutoencoderObjective, kl_divergence
from ldae.training.checkpoint import Checkpoints, Run
from ldae.training.compute import Compute, use_channels_last
from ldae.training.ema import Ema
from ldae.training.encoding import embed
from ldae.training.history import TIMING
from ldae.training.interrupt import EXIT_CODE, Interrupted
from ldae.training.ldae import LdaeObjective
from ldae.training.ldm import LdmObjective
from ldae.training.loop import fit
from ldae.training.stages import train_autoencoder, train_ldae, train_ldm
from ldae.training.validation import quartile_draws

COMMON = {
    "learning_rate": 1e-3,
    "batch_size": 4,
    "micro_batch": 2,
    "epochs": 2,
    "precision": "fp32",
    "grad_clip": 1.0,
    "workers": 0,
    "validate_every": 1,
}
AUTOENCODER = COMMON | {
    "channels": [4, 8],
    "num_res_blocks": 1,
    "latent_channels": 2,
    "norm_num_groups": 2,
    "kl_weight": 1e-7,
    "adversarial": {
        "weight": 0.025,
        "start_epoch": 1,
        "num_layers": 1,
        "channels": 4,
        "learning_rate": 1e-4,
    },
    "perceptual": {"weight": 0.001, "net": "squeeze", "weights": "", "fake_3d_ratio": 0.1},
    "pretrained": None,
}
LDM = COMMON | {
    "base_channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_factors": [2],
    "num_heads": 1,
    "dropout": 0.1,
    "norm_num_groups": 4,
    "resample": "isotropic",
    "ema_decay": 0.9,
}
LDAE = COMMON | {
    "encoder": {
        "backbone": "test_resnet",
        "pretrained": None,
        "plane": "axial",
        "num_heads": 4,
        "attention_dropout": 0.1,
        "position": "none",
        "standardize": True,
    },
    "ema_decay": 0.9,
    "validate_steps": 3,
    "validate_scans": 1,
}
DIFFUSION = {"timesteps": 1000, "beta_start": 1e-4, "beta_end": 2e-2, "gamma": 0.1}
RUNNING = {"device": "cpu", "threads": 1, "seed": 5}


def write_volumes(folder: Path) -> None:
    """A volume store of ten blurred random volumes of five subjects."""
    noise = torch.rand(10, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    volumes = torch.nn.functional.avg_pool3d(noise, 5, stride=1, padding=2)
    low, high = volumes.amin((2, 3, 4), True), volumes.amax((2, 3, 4), True)
    folder.mkdir(parents=True)
    np.save(folder / "volumes.npy", ((volumes - low) / (high - low)).numpy().astype(np.float16))
    index = pd.DataFrame({"row": range(10), "scan_id": [f"scan{i}" for i in range(10)]})
    index["participant_id"] = [f"sub-{i // 2}" for i in range(10)]
    index["split"] = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    write_table(index, folder / "index.tsv")
    card = {
        "shape": [10, 1, 16, 16, 16],
        "dtype": "float16",
        "sha256": sha256(folder / "volumes.npy"),
        "index_sha256": sha256(folder / "index.tsv"),
    }
    write_json(card, folder / "store.json")


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """All stages by their entry points, two epochs each."""
    import lpips

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("chain")
    write_volumes(root / "volumes")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        squeeze = lpips.LPIPS(net="squeeze", pretrained=False, pnet_rand=True, verbose=False)
    state = {key: value.clone() for key, value in squeeze.state_dict().items()}  # heads are shared
    save_file(state, root / "squeeze.safetensors")
    perceptual = AUTOENCODER["perceptual"] | {"weights": str(root / "squeeze.safetensors")}
    autoencoder = AUTOENCODER | {"perceptual": perceptual}
    train_autoencoder(root / "volumes", root / "ae", root / "runs/ae", autoencoder, **RUNNING)
    build_latent_store(
        root / "volumes", root / "ae", root / "latents", {"source": "sample"}, "cpu", 1
    )
    train_ldm(root / "latents", root / "ldm", root / "runs/ldm", LDM, DIFFUSION, **RUNNING)
    folders = [root / name for name in ("volumes", "latents", "ae", "ldm")]
    train_ldae(*folders, root / "ldae", root / "runs/ldae", LDAE, DIFFUSION, **RUNNING)
    return root, {"autoencoder": autoencoder, "ldm": LDM, "ldae": LDAE}


def objective(chain, stage, **changes):
    """A fresh objective of ``stage`` and its config."""
    root, configs = chain
    cfg, compute = configs[stage] | changes, Compute.prepare("cpu", 1, "fp32")
    volumes = VolumeStore(root / "volumes")
    if stage == "autoencoder":
        return AutoencoderObjective(volumes, cfg, compute, 5), cfg
    latents = LatentStore(root / "latents")
    if stage == "ldm":
        return LdmObjective(latents, cfg, Schedule(**DIFFUSION), compute, 5), cfg
    autoencoder, _ = load_autoencoder(root / "ae")
    unet, card = load_ldm(root / "ldm")
    schedule = Schedule(**DIFFUSION)
    made = LdaeObjective(volumes, latents, autoencoder, unet, card, cfg, schedule, compute, 5)
    return made, cfg


def saved(run_dir):
    """Checkpoints of the only training below ``run_dir``."""
    (folder,) = run_dir.iterdir()
    return Checkpoints(folder)


def weights(objective):
    """All trained weights and buffers, and the averages."""
    state = {
        f"{name}.{key}": value.clone()
        for name, module in objective.modules().items()
        for key, value in module.state_dict().items()
    }
    average = objective.ema.state_dict() if objective.ema else {}
    return state | {f"ema.{key}": value.clone() for key, value in average.items()}


def assert_same(one, other):
    """Two states agree bit for bit."""
    assert one.keys() == other.keys()
    differing = [key for key in one if not torch.equal(one[key], other[key])]
    assert not differing


def without_timing(history):
    """Rows of a history without what no two runs share."""
    return [{k: v for k, v in row.items() if k not in TIMING} for row in history]


@pytest.mark.parametrize("stage", ["autoencoder", "ldm", "ldae"])
def test_resume_equals_uninterrupted_bit_for_bit(chain, stage, tmp_path):
    whole, cfg = objective(chain, stage)
    trained = fit(whole, Run(tmp_path / "whole", cfg, 5))
    assert trained.steps == 3
    for workers in (0, 2):
        folder = tmp_path / f"stopped{workers}"
        stopped, cfg = objective(chain, stage, workers=workers)
        with pytest.raises(Interrupted):
            fit(stopped, Run(folder, cfg, 5, stop_after=1))  # in the middle of epoch 1
        assert saved(folder).steps() == [1]
        resumed, cfg = objective(chain, stage, workers=workers)
        again = fit(resumed, Run(folder, cfg, 5))
        assert_same(weights(whole), weights(resumed))
        assert_same(trained.state, again.state)
        assert without_timing(trained.history) == without_timing(again.history)


@pytest.mark.parametrize("stage", ["ldm", "ldae"])
def test_accumulation_equals_one_large_batch(chain, stage, tmp_path):
    encoder = LDAE["encoder"] | {
        "backbone": "test_convnext",  # no batch norm, whose batch is the micro-batch
        "standardize": False,
        "attention_dropout": 0.0,
    }
    changes = {"ldm": {"dropout": 0.0}, "ldae": {"encoder": encoder}}[stage]
    gradients = []
    for micro in (2, 4):
        made, cfg = objective(chain, stage, micro_batch=micro, **changes)
        torch.manual_seed(0)
        for module in made.modules().values():
            for dropout in filter(lambda m: isinstance(m, torch.nn.Dropout), module.modules()):
                dropout.p = 0.0  # its draws are a micro-batch's
            for weight in module.parameters():  # layers that start at zero stop the gradient
                weight.data += 0.05 * torch.randn_like(weight)
        with pytest.raises(Interrupted):
            fit(made, Run(tmp_path / f"{micro}", cfg, 5, stop_after=1))
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


def test_ema_follows_its_formula_once_a_step_and_leaves_frozen_weights_alone():
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
    fit(made, Run(tmp_path, cfg, 5))
    assert_same(frozen, made.guided.unet.state_dict())
    after = weights(made)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert any(key.startswith("encoder.backbone") for key in changed)
    assert any(key.startswith("estimator.") for key in changed)
    assert not any("unet" in key for key in after)


def test_overfitting_lowers_the_loss(chain, tmp_path):
    perceptual = AUTOENCODER["perceptual"] | {"net": None}
    made, cfg = objective(
        chain, "autoencoder", epochs=24, validate_every=8, perceptual=perceptual, micro_batch=4
    )
    history = fit(made, Run(tmp_path, cfg, 5)).history
    assert history[-1]["train_l1"] < 0.7 * history[0]["train_l1"]
    assert history[-1]["val_ssim"] > history[7]["val_ssim"]
    assert "train_adversarial" not in history[0]  # joins at start_epoch 1
    assert "train_discriminator" in history[1]


def test_kl_is_the_one_of_torch():
    mean, std = torch.randn(3, 2, 4, 4, 4), torch.rand(3, 2, 4, 4, 4) + 0.1
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, std), normal(0.0, 1.0))
    assert torch.allclose(kl_divergence(mean, std), expected.sum() / 3, rtol=1e-4)


def test_validation_draws_cover_the_quartiles_and_are_fixed():
    steps, noise = quartile_draws(np.array([3, 8]), (2, 4, 4, 4), 1000, seed=1)
    assert (steps // 250).tolist() == [[0, 1, 2, 3]] * 2
    assert noise.shape == (2, 4, 2, 4, 4, 4)
    alone = quartile_draws(np.array([8]), (2, 4, 4, 4), 1000, seed=1)
    assert torch.equal(alone[0][0], steps[1])
    assert torch.equal(alone[1][0], noise[1])


class _Signalling(torch.utils.data.Dataset):
    """Sends a signal to this process when its first item is read."""

    def __init__(self, inner, number):
        self.inner, self.number = inner, number

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, position):
        if self.number:
            os.kill(os.getpid(), self.number)
            self.number = None
        return self.inner[position]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signal_saves_and_the_same_call_continues(chain, number, tmp_path):
    whole, cfg = objective(chain, "ldm")
    trained = fit(whole, Run(tmp_path / "whole", cfg, 5))
    stopped, cfg = objective(chain, "ldm")
    inner = stopped.dataset()
    stopped.dataset = lambda: _Signalling(inner, number)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as raised:
        fit(stopped, Run(tmp_path / "run", cfg, 5))
    assert raised.value.code == EXIT_CODE == 75
    assert signal.getsignal(number) == before
    assert saved(tmp_path / "run").steps() == [1]
    resumed, cfg = objective(chain, "ldm")
    assert_same(trained.state, fit(resumed, Run(tmp_path / "run", cfg, 5)).state)


def test_signal_during_validation_repeats_the_validation(chain, tmp_path):
    whole, cfg = objective(chain, "ldae")
    trained = fit(whole, Run(tmp_path / "whole", cfg, 5))
    stopped, cfg = objective(chain, "ldae")
    validate = stopped.validate

    def interrupted(beat):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(beat)

    stopped.validate = interrupted
    with pytest.raises(Interrupted):
        fit(stopped, Run(tmp_path / "run", cfg, 5))
    content = saved(tmp_path / "run").latest()
    assert (content["step"], content["history"]) == (2, [])
    resumed, cfg = objective(chain, "ldae")
    again = fit(resumed, Run(tmp_path / "run", cfg, 5))
    assert_same(trained.state, again.state)
    assert without_timing(trained.history) == without_timing(again.history)


def test_corrupt_checkpoint_is_skipped_for_the_one_before(chain, tmp_path, caplog):
    made, cfg = objective(chain, "ldm", epochs=3)
    trained = fit(made, Run(tmp_path, cfg, 5, checkpoint_seconds=0))
    assert saved(tmp_path).steps() == [4, 5]  # two are kept
    newest = saved(tmp_path).path(5)
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    resumed, cfg = objective(chain, "ldm", epochs=3)
    again = fit(resumed, Run(tmp_path, cfg, 5))
    assert "checkpoint-5.pt cannot be read" in caplog.text
    assert_same(trained.state, again.state)


def test_best_weights_are_kept_as_long_as_a_checkpoint_names_them(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in range(1, 7):
        if step in (1, 2, 4):
            checkpoints.save_best(step, {"w": torch.tensor(step)})
        checkpoints.save({"step": step})
    assert checkpoints.steps() == [5, 6]
    assert sorted(path.name for path in tmp_path.glob("best-*")) == ["best-4.pt"]
    checkpoints.save_best(9, {"w": torch.tensor(9)})
    assert checkpoints.load_best("best-4.pt") == {"w": 4}  # resuming from step 6 needs it


def test_another_training_starts_anew_beside_the_stopped_one_and_names_what_differs(
    chain, tmp_path, caplog
):
    made, cfg = objective(chain, "ldm")
    with pytest.raises(Interrupted):
        fit(made, Run(tmp_path, cfg, 5, stop_after=2))
    kept = saved(tmp_path)

    def first_step(run, **changes):
        made, cfg = objective(chain, "ldm", **changes)
        made.latents.card |= run.pop("card", {})
        caplog.clear()
        with pytest.raises(Interrupted):
            fit(made, Run(tmp_path, cfg, stop_after=1, **({"seed": 5} | run)))
        return next(text for text in caplog.messages if str(kept.folder) in text)

    message = first_step({}, num_res_blocks=2, learning_rate=1e-4)
    assert "ldm.learning_rate (0.001 there, 0.0001 now); ldm.num_res_blocks (1 there" in message
    assert "seed (5 there, 6 now)" in first_step({"seed": 6})
    assert "data (" in first_step({"card": {"index_sha256": "0"}})
    assert "source ('' there, 'new' now)" in first_step({"fingerprint": "new"})
    assert kept.steps() == [2]
    assert len(list(tmp_path.iterdir())) == 5


def test_a_checkpoint_moved_into_the_folder_of_another_training_is_refused(chain, tmp_path):
    for seed in (5, 6):
        made, cfg = objective(chain, "ldm")
        with pytest.raises(Interrupted):
            fit(made, Run(tmp_path / f"{seed}", cfg, seed, stop_after=1))
    one, other = (saved(tmp_path / f"{seed}").path(1) for seed in (5, 6))
    one.replace(other)
    with pytest.raises(UserError, match=r"seed \(5 in the checkpoint, 6 now\)"):
        fit(objective(chain, "ldm")[0], Run(tmp_path / "6", LDM, 6))


def test_other_epochs_precision_or_micro_batch_continue(chain, tmp_path):
    made, cfg = objective(chain, "ldm")
    with pytest.raises(Interrupted):
        fit(made, Run(tmp_path, cfg, 5, stop_after=2))
    longer, cfg = objective(chain, "ldm", epochs=4, precision="bf16", micro_batch=4)
    trained = fit(longer, Run(tmp_path, cfg, 5))
    assert (trained.steps, len(trained.history)) == (6, 4)
    assert trained.folder == saved(tmp_path).folder  # the only one
    shorter, cfg = objective(chain, "ldm", epochs=1)
    with pytest.raises(UserError, match=r"ldm\.epochs"):
        fit(shorter, Run(tmp_path, cfg, 5))


def test_micro_batch_is_part_of_the_training_where_batch_norm_sees_it(chain, tmp_path):
    plain = LDAE["encoder"] | {"backbone": "test_convnext", "standardize": False}
    for name, encoder, folders in (
        ("plain", plain, 1),
        ("standardized", plain | {"standardize": True}, 2),
        ("batch_norm", plain | {"backbone": "test_resnet"}, 2),
    ):
        for micro_batch in (2, 4):
            made, cfg = objective(chain, "ldae", encoder=encoder, micro_batch=micro_batch)
            with pytest.raises(Interrupted):
                fit(made, Run(tmp_path / name, cfg, 5, stop_after=micro_batch // 2))
        assert len(list((tmp_path / name).iterdir())) == folders


def test_changed_bytes_of_a_pretrained_file_are_another_training(chain, tmp_path):
    perceptual = tmp_path / "squeeze.safetensors"
    shutil.copy(chain[0] / "squeeze.safetensors", perceptual)
    settings = chain[1]["autoencoder"]["perceptual"] | {"weights": str(perceptual)}
    for scale in (1.0, 2.0):
        save_file({k: scale * v for k, v in load_file(perceptual).items()}, perceptual)
        made, cfg = objective(chain, "autoencoder", perceptual=settings)
        with pytest.raises(Interrupted):
            fit(made, Run(tmp_path / "run", cfg, 5, stop_after=1))
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_a_stage_with_other_sources_ignores_old_checkpoints_and_leaves_none(chain, tmp_path):
    root, _ = chain
    assert not list((root / "runs").glob("*/*"))  # all three stages were successful
    made, cfg = objective(chain, "ldm")
    with pytest.raises(Interrupted):
        fit(made, Run(tmp_path / "run", cfg, 5, "old", stop_after=2))
    old = saved(tmp_path / "run")
    old_bytes = old.path(2).read_bytes()
    train_ldm(
        root / "latents",
        tmp_path / "ldm",
        tmp_path / "run",
        LDM,
        DIFFUSION,
        fingerprint="new",
        checkpoint_seconds=0,
        **RUNNING,
    )
    assert load_card(tmp_path / "ldm")["fingerprint"] == "new"
    assert_same(load_state(tmp_path / "ldm"), load_state(root / "ldm"))
    assert saved(tmp_path / "run").folder == old.folder  # the new one's is gone
    assert old.path(2).read_bytes() == old_bytes


def test_a_loss_that_is_not_finite_stops_with_advice_and_keeps_the_checkpoint(chain, tmp_path):
    made, cfg = objective(chain, "ldm", learning_rate=1e30, epochs=4)
    with pytest.raises(UserError, match=r"checkpoint-\d+\.pt .* ldm\.precision: fp32"):
        fit(made, Run(tmp_path, cfg, 5, checkpoint_seconds=0))
    kept = saved(tmp_path).latest()
    assert all(torch.isfinite(value).all() for value in kept["modules"]["unet"].values())


def test_channels_last_reaches_convolutions_of_either_kind_and_changes_no_result(chain):
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


def test_settings_that_cannot_work_are_refused(chain, tmp_path):
    for changes, message in (
        ({"micro_batch": 3}, r"ldm\.micro_batch"),
        ({"batch_size": 8}, r"only 6 scans"),
    ):
        made, cfg = objective(chain, "ldm", **changes)
        with pytest.raises(UserError, match=message):
            fit(made, Run(tmp_path, cfg, 5))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="sees no GPU"):
            Compute.prepare("cuda", 1, "fp32")
    with pytest.raises(UserError, match="fp16"):
        Compute.prepare("cpu", 1, "fp16")


def test_stages_leave_models_that_name_their_inputs(chain, tmp_path):
    root, configs = chain
    volumes, latents = VolumeStore(root / "volumes"), LatentStore(root / "latents")
    cards = {name: load_card(root / name) for name in ("ae", "ldm", "ldae")}
    assert cards["ae"]["data"] == cards["ldae"]["data"] == volumes.sum
    assert {card["split"] for card in cards.values()} == {volumes.split_hash}
    assert cards["ldm"]["data"] == latents.sum
    assert cards["ldm"]["latent_scale"] == cards["ldae"]["latent_scale"] == latents.scale
    assert cards["ldae"]["ldm_sha256"] == cards["ldm"]["sha256"]
    assert cards["ldae"]["autoencoder_sha256"] == cards["ae"]["sha256"]
    assert cards["ldae"]["config"] == configs["ldae"]
    history = pd.read_csv(root / "ldae/history.tsv", sep="\t")
    assert history.columns[-3:].tolist() == TIMING
    best = history.loc[history["val_ssim"].idxmax()]
    assert cards["ldae"]["epoch"] == best["epoch"]
    assert cards["ldae"]["metrics"]["val_ssim"] == pytest.approx(best["val_ssim"])
    assert load_card(root / "ldm")["epoch"] == 2
    made, cfg = objective(chain, "ldm")
    fit(made, Run(tmp_path, cfg, 5))
    last = made.ema.state_dict()
    assert_same({k.removeprefix("unet."): v for k, v in last.items()}, load_state(root / "ldm"))


def test_embeddings_of_the_trained_and_of_the_untrained_encoder(chain, tmp_path):
    root, _ = chain
    codes = {}
    for system in ("ldae", "untrained"):
        out = tmp_path / f"{system}.npz"
        embed(root / "volumes", root / "ldae", root / "ldm", out, system, "cpu", 1, batch_size=3)
        scans, codes[system] = load_embeddings(out)
        assert scans == VolumeStore(root / "volumes").index["scan_id"].tolist()
    encoder, _, _ = load_ldae(root / "ldae", root / "ldm")
    with torch.inference_mode():
        expected = encoder(VolumeStore(root / "volumes").volumes(np.arange(10)))
    assert np.allclose(codes["ldae"], expected, atol=1e-4)
    assert codes["ldae"].shape == codes["untrained"].shape
    # standardized by statistics of the very weights that were kept, over the training split
    assert np.abs(codes["ldae"][:6].mean(0)).max() < 1e-3
    variance = encoder.standardize.running_var.numpy()
    expected = (variance / (variance + encoder.standardize.eps)) ** 0.5
    assert np.allclose(codes["ldae"][:6].std(0, ddof=1), expected, rtol=1e-3)
    assert np.abs(codes["untrained"][:6].mean(0)).max() > 1e-2


def test_stage_three_refuses_inputs_that_do_not_belong_together(chain, tmp_path):
    root, _ = chain
    folders = [root / name for name in ("volumes", "latents", "ae")]
    outputs = [tmp_path / "ldae", tmp_path / "run"]
    with pytest.raises(UserError, match="no trained model"):
        train_ldae(*folders, tmp_path / "none", *outputs, LDAE, DIFFUSION, **RUNNING)
    card = load_card(root / "ldm")
    save_model(tmp_path / "ldm", load_state(root / "ldm"), card | {"data": "another"})
    with pytest.raises(UserError, match="other latents"):
        train_ldae(*folders, tmp_path / "ldm", *outputs, LDAE, DIFFUSION, **RUNNING)
    with pytest.raises(UserError, match="diffusion"):
        train_ldae(
            *folders, root / "ldm", *outputs, LDAE, DIFFUSION | {"timesteps": 500}, **RUNNING
        )
