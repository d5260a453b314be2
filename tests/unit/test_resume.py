"""Resuming a training: same weights bit for bit, and no checkpoint of another training."""

import errno
import os
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.training import (
    LDAE,
    LDM,
    assert_same,
    objective,
    saved,
    settings,
    weights,
    without_timing,
)
from ldae.errors import UserError
from ldae.locks import acquire_lock
from ldae.models.storage import load_card, load_state
from ldae.training.callbacks import Callback
from ldae.training.checkpoint_files import Checkpoints, card
from ldae.training.distributed.processes import Processes
from ldae.training.distributed.signals import EXIT_CODE, Interrupted
from ldae.training.loop import Trainer, fit
from ldae.training.run_identity import training_identity
from ldae.training.stages import train


@pytest.mark.parametrize(
    ("stage", "workers"),
    [
        ("autoencoder", 0),
        ("ldm", 2),
        ("ldae", 0),
        ("dae", 0),
        ("supervised_diagnosis", 2),
        ("supervised_age", 0),
    ],
)
def test_resume_equals_uninterrupted_bit_for_bit(chain, stage, workers, tmp_path):
    uninterrupted, cfg = objective(chain, stage)
    trained = fit(uninterrupted, settings(stage, cfg, tmp_path / "whole"))
    assert trained.steps == 3
    stopped, cfg = objective(chain, stage, workers=workers)
    with pytest.raises(Interrupted):
        fit(stopped, settings(stage, cfg, tmp_path, stop_after=1))  # in the middle of epoch 1
    assert saved(tmp_path).steps() == [1]
    resumed, cfg = objective(chain, stage, workers=workers)
    again = fit(resumed, settings(stage, cfg, tmp_path))
    assert_same(weights(uninterrupted), weights(resumed))
    assert_same(trained.state, again.state)
    assert without_timing(trained.history) == without_timing(again.history)


def test_checkpoint_holds_weights_optimizer_and_identity(chain, tmp_path):
    made, cfg = objective(chain, "ldae", precision="fp16")
    with pytest.raises(Interrupted):
        fit(made, settings("ldae", cfg, tmp_path, fingerprint="abc", stop_after=1))
    content = saved(tmp_path).latest()
    assert content["modules"].keys() == {"encoder", "estimator"}
    assert content["ema"].keys() == set(made.ema.shadow)
    assert content["optimizers"]["main"]["state"][0]["step"] <= 1
    assert content["scaler"]["scale"] > 1
    assert content["config"] == cfg
    assert (content["identity"]["seed"], content["identity"]["source"]) == (5, "abc")
    assert {"data", "latents", "ldm"} <= content["identity"].keys()
    assert content["watch"]["losses"]
    assert {"torch", "ldae", "precision", "processes"} <= content["conditions"].keys()


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
def test_signal_saves_checkpoint_and_same_call_resumes(chain, number, tmp_path):
    uninterrupted, cfg = objective(chain, "ldm")
    trained = fit(uninterrupted, settings("ldm", cfg, tmp_path / "whole"))
    stopped, cfg = objective(chain, "ldm")
    inner = stopped.dataset()
    stopped.dataset = lambda: _Signalling(inner, number)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as raised:
        fit(stopped, settings("ldm", cfg, tmp_path / "run"))
    assert raised.value.code == EXIT_CODE == 75
    assert signal.getsignal(number) == before
    assert saved(tmp_path / "run").steps() == [1]
    resumed, cfg = objective(chain, "ldm")
    assert_same(trained.state, fit(resumed, settings("ldm", cfg, tmp_path / "run")).state)


def test_end_of_slurm_job_time_interrupts_training(chain, tmp_path, monkeypatch):
    made, cfg = objective(chain, "ldm")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time())))
    with pytest.raises(Interrupted, match="end of the job's time"):
        fit(made, settings("ldm", cfg, tmp_path))
    assert saved(tmp_path).steps() == [1]
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 3600))
    resumed, cfg = objective(chain, "ldm")
    assert fit(resumed, settings("ldm", cfg, tmp_path)).steps == 3


def test_signal_during_validation_repeats_validation(chain, tmp_path):
    uninterrupted, cfg = objective(chain, "ldae")
    trained = fit(uninterrupted, settings("ldae", cfg, tmp_path / "whole"))
    stopped, cfg = objective(chain, "ldae")
    validate = stopped.validate

    def interrupted(check_interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(check_interrupted)

    stopped.validate = interrupted
    with pytest.raises(Interrupted):
        fit(stopped, settings("ldae", cfg, tmp_path / "run"))
    content = saved(tmp_path / "run").latest()
    assert (content["step"], content["history"]) == (2, [])
    resumed, cfg = objective(chain, "ldae")
    again = fit(resumed, settings("ldae", cfg, tmp_path / "run"))
    assert_same(trained.state, again.state)
    assert without_timing(trained.history) == without_timing(again.history)


def test_corrupt_checkpoint_is_skipped_for_the_one_before(chain, tmp_path, caplog):
    made, cfg = objective(chain, "ldm", epochs=3)
    trained = fit(made, settings("ldm", cfg, tmp_path, checkpoint_seconds=0))
    assert saved(tmp_path).steps() == [4, 5]  # two are kept
    newest = saved(tmp_path).path(5)
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    resumed, cfg = objective(chain, "ldm", epochs=3)
    again = fit(resumed, settings("ldm", cfg, tmp_path))
    assert "checkpoint-5.pt is damaged" in caplog.text
    assert_same(trained.state, again.state)


def state(number: int) -> dict[str, torch.Tensor]:
    """Weights to save."""
    return {"w": torch.tensor(number)}


def best_files(folder) -> list[str]:
    """Names of the best weights in a folder."""
    return sorted(path.name for path in folder.glob("best-*.pt"))


def test_best_weights_are_kept_while_a_checkpoint_names_them(tmp_path):
    checkpoints, best = Checkpoints(tmp_path), None
    for step in range(1, 7):
        if step in (1, 2, 4):
            best = checkpoints.save_best(step, state(step))
        checkpoints.save({"step": step, "best": best})
    assert checkpoints.steps() == [5, 6]
    assert best_files(tmp_path) == ["best-4.pt"]
    checkpoints.save_best(9, state(9))
    assert checkpoints.load_best(best) == {"w": 4}  # resuming from step 6 needs it


def test_best_weights_survive_newer_ones_of_killed_attempt(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    best = checkpoints.save_best(80, state(80))
    checkpoints.save({"step": 100, "best": best})
    checkpoints.save_best(120, state(120))  # killed before a checkpoint named it
    resumed = Checkpoints(tmp_path)
    resumed.resume_from(resumed.latest()["step"])
    for step in (150, 200, 250):  # step 120 was not as good this time
        resumed.save({"step": step, "best": best})
        assert best_files(tmp_path) == ["best-80.pt"]
    assert resumed.load_best(best) == {"w": 80}


def test_damaged_checkpoints_are_detected_and_set_aside(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save({"step": step, "best": None, "w": torch.rand(5000)})
    file = checkpoints.path(2)
    intact = file.read_bytes()
    flipped = bytearray(intact)
    flipped[len(intact) // 2] ^= 0x40  # amid the weights: it would load without error
    for content in (flipped, b"", bytes(1000), intact[:-100]):
        file.write_bytes(content)
        assert checkpoints.latest()["step"] == 1
        assert "checkpoint-2.pt is damaged" in caplog.text
        caplog.clear()
    file.write_bytes(intact)
    assert checkpoints.latest()["step"] == 2
    for step in (1, 2):  # as of a process that was killed while it wrote
        (tmp_path / f"checkpoint-{step}.pt.json").unlink()
    assert checkpoints.latest() is None
    checkpoints.resume_from(-1)
    checkpoints.save({"step": 1, "best": None})
    assert checkpoints.latest()["step"] == 1  # not deleted as surplus beside those of higher steps
    assert (tmp_path / "damaged-checkpoint-2.pt").read_bytes() == intact


def test_last_good_state_is_the_checkpoint_that_is_being_written(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    write = checkpoints._save

    def slowly(content):
        time.sleep(0.3)
        write(content)

    monkeypatch.setattr(checkpoints, "_save", slowly)
    assert checkpoints.last_good() == "none saved"
    checkpoints.save_later({"step": 3, "best": None})
    assert checkpoints.last_good().startswith("checkpoint-3.pt in ")


def test_training_does_not_restart_after_disk_error(chain, tmp_path, monkeypatch):
    made, cfg = objective(chain, "ldm", epochs=3)
    run = settings("ldm", cfg, tmp_path, checkpoint_seconds=0)
    fit(made, run)
    files = [saved(tmp_path).path(step) for step in (4, 5)]
    for error in (OSError(errno.EIO, "Input/output error"), MemoryError()):

        def failing(path, error=error):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr("ldae.training.checkpoint_files.sha256", failing)
            with pytest.raises(type(error)):
                fit(objective(chain, "ldm", epochs=3)[0], run)
    best = saved(tmp_path).save_best(5, state(5))
    saved(tmp_path).save({"step": 5, "best": best})

    def failing(path):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patched:
        patched.setattr("ldae.training.checkpoint_files.read_json", failing)
        with pytest.raises(OSError, match="Stale"):
            saved(tmp_path).delete_best()
    assert saved(tmp_path).sound_best(best) == best
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"are damaged: steps \[4, 5\]"):
        fit(objective(chain, "ldm", epochs=3)[0], run)
    assert saved(tmp_path).steps() == [4, 5]  # nothing was set aside


@pytest.mark.parametrize("keep", [False, True])
def test_training_folder_stays_locked_until_model_is_written(chain, tmp_path, monkeypatch, keep):
    folders = []

    def save_trained(settings, trained, *_, **__):
        with pytest.raises(UserError, match="is being written by process"):
            acquire_lock(trained.folder / ".lock", "the folder", patience=0)
        folders.append(trained.folder)

    monkeypatch.setattr("ldae.training.stages.save_trained", save_trained)
    train(settings("ldm", LDM, tmp_path, chain[0], keep_checkpoints=keep), Processes())
    assert [folder.exists() for folder in folders] == [keep]


def test_damaged_best_weights_are_replaced_and_flagged(chain, tmp_path):
    def attempt(scores, **more):
        made, cfg = objective(chain, "ldae", epochs=4, precision="fp32")  # ends 2, 3, 5, 6
        losses = {"loss": 0.1, "loss_frozen": 0.2}
        made.validate = lambda check_interrupted: losses | {"ssim": scores.pop(0)}
        return fit(made, settings("ldae", cfg, tmp_path, **more))

    for scores, stop in (([0.1], 2), ([0.1, 0.9], 4)):
        with pytest.raises(Interrupted):
            attempt(scores, stop_after=stop)
    folder = saved(tmp_path).folder
    # Step 2 is saved before its epoch ends: no checkpoint names its weights.
    assert best_files(folder) == ["best-3.pt"]
    (folder / "best-3.pt").write_bytes(b"")
    trained = attempt([0.3, 0.2])
    assert trained.epoch == 3
    (flag,) = trained.flags
    assert flag == (
        "the best weights, of epoch 2, were damaged on the disk; those of a later one stand in "
        "for them"
    )
    (folder / "best-5.pt").unlink()
    last = attempt([])  # nothing left to train: saving must not fail
    assert last.epoch == 4
    assert len(last.flags) == 2


def test_sound_best_falls_back_to_older_weights(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    bests = [checkpoints.save_best(1, state(1))]
    checkpoints.save({"step": 2, "best": bests[0]})
    bests.append(checkpoints.save_best(3, state(3)))
    checkpoints.save({"step": 4, "best": bests[1]})
    assert checkpoints.sound_best(bests[1]) == bests[1]
    (tmp_path / "best-3.pt").write_bytes(b"garbled")
    assert checkpoints.sound_best(bests[1]) == bests[0]
    (tmp_path / "best-1.pt").unlink()
    assert checkpoints.sound_best(bests[1]) is None


def test_optimizer_moments_load_across_memory_layouts(chain, tmp_path):
    uninterrupted, cfg = objective(chain, "ldm")
    trained = fit(uninterrupted, settings("ldm", cfg, tmp_path / "whole"))
    stopped, cfg = objective(chain, "ldm")
    with pytest.raises(Interrupted):
        fit(stopped, settings("ldm", cfg, tmp_path / "run", stop_after=2))
    checkpoints = saved(tmp_path / "run")
    content = checkpoints.latest()
    for moments in content["optimizers"]["main"]["state"].values():
        for key, moment in moments.items():
            if moment.ndim == 5:  # as a GPU's training leaves them
                moments[key] = moment.contiguous(memory_format=torch.channels_last_3d)
    checkpoints.save(content)
    resumed, cfg = objective(chain, "ldm")
    again = fit(resumed, settings("ldm", cfg, tmp_path / "run"))
    assert_same(trained.state, again.state)


def test_save_before_leaving_skips_after_repeated_high_losses(chain, tmp_path):
    made, cfg = objective(chain, "ldm")
    trainer = Trainer(made, settings("ldm", cfg, tmp_path), Processes(), Callback())
    for high, steps in ((2, []), (1, [0])):
        trainer.detector.high = high
        trainer.save_before_leaving()
        assert saved(tmp_path).steps() == steps


def test_diverged_training_is_not_retried_until_settings_change(chain, tmp_path):
    changes = {"learning_rate": 1e30, "epochs": 4}

    def attempt(fingerprint="", **more):
        made, cfg = objective(chain, "ldm", **changes | more)
        fit(made, settings("ldm", cfg, tmp_path, fingerprint=fingerprint))

    with pytest.raises(UserError, match="not finite") as first:
        attempt()
    with pytest.raises(UserError, match=r"delete .*diverged\.json") as second:
        attempt(workers=1)
    assert str(second.value).startswith(str(first.value))
    divergence = saved(tmp_path).folder / "diverged.json"
    for change in ({"fingerprint": "mended"}, {"grad_clip": None}, {"precision": "bf16"}):
        with pytest.raises(UserError, match=r"train anew\.$"):
            attempt(**change)
    divergence.unlink()
    with pytest.raises(UserError, match=r"train anew\.$"):
        attempt()


def test_finished_training_with_kept_checkpoints_resumes_for_more_epochs(chain, tmp_path, caplog):
    root, configs = chain
    more = {"keep_checkpoints": True, "out_dir": str(tmp_path / "ldm")}
    with caplog.at_level("INFO"):
        for epochs in (1, 2):
            cfg = configs["ldm"] | {"epochs": epochs}
            train(settings("ldm", cfg, tmp_path / "run", root, **more), Processes())
    assert "continues from step 2 of 3" in caplog.text
    assert_same(load_state(tmp_path / "ldm"), load_state(root / "ldm"))
    assert saved(tmp_path / "run").steps() == [2, 3]


def test_changed_training_starts_anew_and_logs_differences(chain, tmp_path, caplog):
    made, cfg = objective(chain, "ldm")
    with pytest.raises(Interrupted):
        fit(made, settings("ldm", cfg, tmp_path, stop_after=2))
    stopped = saved(tmp_path)

    def first_step(run, **changes):
        made, cfg = objective(chain, "ldm", **changes)
        made.latents.card |= run.pop("card", {})
        caplog.clear()
        with pytest.raises(Interrupted):
            fit(made, settings("ldm", cfg, tmp_path, stop_after=1, **run))
        return next(text for text in caplog.messages if str(stopped.folder) in text)

    message = first_step({}, num_res_blocks=2, learning_rate=1e-4)
    assert "ldm.learning_rate (0.001 there, 0.0001 now); ldm.num_res_blocks (1 there" in message
    assert "seed (5 there, 6 now)" in first_step({"seed": 6})
    assert "data (" in first_step({"card": {"dtype": "other"}})
    assert "source ('' there, 'new' now)" in first_step({"fingerprint": "new"})
    assert stopped.steps() == [2]
    assert len(list(tmp_path.iterdir())) == 5


def test_checkpoint_of_another_training_is_refused(chain, tmp_path):
    for seed in (5, 6):
        made, cfg = objective(chain, "ldm")
        with pytest.raises(Interrupted):
            fit(made, settings("ldm", cfg, tmp_path / f"{seed}", seed=seed, stop_after=1))
    one, other = (saved(tmp_path / f"{seed}").path(1) for seed in (5, 6))
    one.replace(other)
    card(one).replace(card(other))
    with pytest.raises(UserError, match=r"seed \(5 in the checkpoint, 6 now\)"):
        fit(objective(chain, "ldm")[0], settings("ldm", LDM, tmp_path / "6", seed=6))


def test_training_resumes_with_other_epochs_precision_or_micro_batch(chain, tmp_path):
    made, cfg = objective(chain, "ldm")
    with pytest.raises(Interrupted):
        fit(made, settings("ldm", cfg, tmp_path, stop_after=2))
    longer, cfg = objective(chain, "ldm", epochs=4, precision="bf16", micro_batch=4)
    trained = fit(longer, settings("ldm", cfg, tmp_path))
    assert (trained.steps, len(trained.history)) == (6, 4)
    assert trained.folder == saved(tmp_path).folder  # the only one
    shorter, cfg = objective(chain, "ldm", epochs=1)
    with pytest.raises(UserError, match=r"ldm\.epochs"):
        fit(shorter, settings("ldm", cfg, tmp_path))


def test_training_identity_includes_micro_batch_only_with_batch_norm(chain, tmp_path):
    plain = LDAE["encoder"] | {"backbone": "test_convnext", "standardize": False}
    for name, encoder, folders in (
        ("plain", plain, 1),
        ("standardized", plain | {"standardize": True}, 2),
        ("batch_norm", plain | {"backbone": "test_resnet"}, 2),
    ):
        for micro_batch in (2, 4):
            made, cfg = objective(chain, "ldae", encoder=encoder, micro_batch=micro_batch)
            with pytest.raises(Interrupted):
                fit(made, settings("ldae", cfg, tmp_path / name, stop_after=micro_batch // 2))
        assert len(list((tmp_path / name).iterdir())) == folders


def test_training_identity_depends_on_pretrained_bytes_not_path(chain, tmp_path):
    def identity(file):
        section = chain[1]["autoencoder"]["perceptual"] | {"weights": str(file)}
        made, cfg = objective(chain, "autoencoder", perceptual=section)
        return training_identity(made, settings("autoencoder", cfg, tmp_path))

    perceptual = tmp_path / "squeeze.safetensors"
    shutil.copy(chain[0] / "squeeze.safetensors", perceptual)
    before = identity(perceptual)
    assert before == identity(chain[0] / "squeeze.safetensors")  # the same file elsewhere
    save_file({k: 2.0 * v for k, v in load_file(perceptual).items()}, perceptual)
    assert before != identity(perceptual)


def test_stage_of_changed_source_ignores_old_checkpoints(chain, tmp_path):
    root, configs = chain
    assert not list((root / "runs").glob("*/*"))  # all three stages were successful
    made, cfg = objective(chain, "ldm")
    with pytest.raises(Interrupted):
        fit(made, settings("ldm", cfg, tmp_path / "run", fingerprint="old", stop_after=2))
    old = saved(tmp_path / "run")
    old_bytes = old.path(2).read_bytes()
    new = {"out_dir": str(tmp_path / "ldm"), "fingerprint": "new", "checkpoint_seconds": 0}
    train(settings("ldm", configs["ldm"], tmp_path / "run", root, **new), Processes())
    assert load_card(tmp_path / "ldm")["fingerprint"] == "new"
    assert_same(load_state(tmp_path / "ldm"), load_state(root / "ldm"))
    assert saved(tmp_path / "run").folder == old.folder  # the new one's is gone
    assert old.path(2).read_bytes() == old_bytes
