"""Trainings in one and two processes: killed and resumed, with bit-identical weights."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch

from helpers import training_process
from helpers.training import LDM, SEED, STATELESS, assert_same, settings
from ldae.models.storage import load_card, load_state

pytestmark = pytest.mark.workflow

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["helpers.training_process"])
STAGES = ("autoencoder", "ldm", "ldae", "dae", "supervised_age")
LONG = {"epochs": 4}  # 6 steps


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:  # the server finds modules by its environment
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()
    process = SERVER.Process(target=training_process.make, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return folder


def start(root, stage, changes, run_dir, size, stop_after=None):
    """Start the processes of a training."""
    run_dir.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [
        SERVER.Process(
            target=training_process.train,
            args=(root, stage, changes, run_dir, rank, size, port, stop_after),
        )
        for rank in range(size)
    ]
    for process in started:
        process.start()
    return started


def trained(root, stage, changes, run_dir, size) -> list[dict]:
    """Train to the end; returns the result of each process."""
    started = start(root, stage, changes, run_dir, size)
    for process in started:
        process.join(timeout=120)
    assert [process.exitcode for process in started] == [0] * size
    return [torch.load(run_dir / f"result-{rank}.pt", weights_only=False) for rank in range(size)]


def await_step(run_dir: Path, step: int) -> None:
    """Wait for the checkpoint of this step or of a later one."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        steps = [int(p.stem.split("-")[1]) for p in run_dir.glob("*/checkpoint-*.pt")]
        if max(steps, default=0) >= step:
            return
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint of step {step} in {run_dir}")


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_training_killed_and_resumed_equals_uninterrupted(root, stage, size, tmp_path):
    uninterrupted = trained(root, stage, LONG, tmp_path / "whole", size)
    run_dir = tmp_path / "killed"
    killed = start(root, stage, LONG | {"workers": 2}, run_dir, size)
    await_step(run_dir, 2)
    for process in killed:
        process.kill()
    while any(Path(f"/proc/{process.pid}").exists() for process in killed):
        time.sleep(0.01)  # join would also wait for their loaders
    assert not list(run_dir.glob("result-*"))
    again = trained(root, stage, LONG, run_dir, size)
    assert again[0]["history"] == uninterrupted[0]["history"]
    assert_same(again[0]["state"], uninterrupted[0]["state"])
    for result in (*again, *uninterrupted):  # all replicas are equal as well
        assert_same(result["weights"], uninterrupted[0]["weights"])


@pytest.mark.parametrize("stage", [*STAGES, "batch_norm"])
def test_training_in_two_processes_equals_one_process(root, stage, tmp_path):
    """Four micro-batches in one process or two in each of two; batch norms need 2 scans in each."""
    name, micro = ("ldae", 2) if stage == "batch_norm" else (stage, 1)
    # Only the case "batch_norm" has batch norms. Dropout is drawn alike.
    changes = {} if stage in ("autoencoder", "ldm", "batch_norm") else STATELESS[stage]
    changes = changes | {"micro_batch": micro, "validate_scans": 2}
    one, _two = trained(root, name, changes, tmp_path / "2", 2)
    (alone,) = trained(root, name, changes, tmp_path / "1", 1)
    for key, value in alone["weights"].items():
        assert torch.allclose(value.double(), one["weights"][key].double(), atol=1e-5), key
    losses = [[row["train_loss"] for row in result["history"]] for result in (one, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_processes_exit_after_the_checkpoint_is_saved(root, tmp_path):
    started = start(root, "ldae", {"processes": 2}, tmp_path, 2, stop_after=1)
    for process in started:
        process.join(timeout=120)
    assert [process.exitcode for process in started] == [75, 75]
    (card,) = tmp_path.glob("*/checkpoint-1.pt.json")
    for rank in range(2):
        assert card.stat().st_mtime_ns <= (tmp_path / f"left-{rank}").stat().st_mtime_ns


def test_error_in_one_process_ends_all_and_is_logged(root, tmp_path):
    (tmp_path / "file").touch()
    job_settings = settings(
        "ldm", LDM | {"processes": 2}, tmp_path, root, out_dir=str(tmp_path / "file/x")
    )
    job_settings.write(tmp_path / "settings.json")
    command = [sys.executable, "-m", "ldae.training", str(tmp_path / "settings.json")]
    done = subprocess.run(
        [*command, "--log", str(tmp_path / "log")], check=False, timeout=120, capture_output=True
    )
    assert done.returncode == 1
    assert "Not a directory" in (tmp_path / "log").read_text()  # in the first process
    assert "one of its 2 processes failed" in done.stderr.decode()


def test_launcher_forwards_signals_and_returns_exit_status(root, tmp_path):
    cfg = LDM | {"epochs": 20, "processes": 2}
    job_settings = settings(
        "ldm", cfg, tmp_path / "run", root, out_dir=str(tmp_path / "ldm"), checkpoint_seconds=0
    )
    job_settings.write(tmp_path / "settings.json")
    command = [sys.executable, "-m", "ldae.training", str(tmp_path / "settings.json")]
    command += ["--log", str(tmp_path / "log")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment) as launcher:
        await_step(tmp_path / "run", 2)
        launcher.send_signal(signal.SIGUSR1)
    assert launcher.returncode == 75
    log = (tmp_path / "log").read_text()
    assert "starting 2 processes" in log
    assert "interrupted at step" in log
    assert not (tmp_path / "ldm/model.json").exists()
    (file,) = (tmp_path / "run").glob("*/identity.json")
    assert json.loads(file.read_text())["seed"] == SEED
    done = subprocess.run(command, env=environment, check=False)
    assert done.returncode == 0
    assert "continues from step" in (tmp_path / "log").read_text()
    card = load_card(tmp_path / "ldm")
    assert (card["steps"], card["machine"]["processes"]) == (30, 2)
    uninterrupted = trained(root, "ldm", {"epochs": 20}, tmp_path / "whole", 2)
    assert_same(load_state(tmp_path / "ldm"), uninterrupted[0]["state"])
    assert not list((tmp_path / "run").glob("*/checkpoint-*"))
