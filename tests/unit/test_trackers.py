"""Trackers of trainings: one run under one id, nothing personal, and nothing learnt otherwise.

Those of a package that is not installed are skipped: `make env TRACKER="wandb mlflow"` has both.
"""

import getpass
import json
import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers.trackers import mlflow_points, wandb_points, wandb_records
from helpers.training import assert_same, saved, settings
from ldae.errors import UserError
from ldae.models.storage import load_state
from ldae.training.distributed.processes import Processes
from ldae.training.distributed.signals import Interrupted
from ldae.training.stages import run, train
from ldae.training.trackers import choice
from ldae.training.trackers.choice import PACKAGES, missing_package, require_tracker
from ldae.training.trackers.runs import without_paths

SIZES = {"batch_size": 4, "micro_batch": 2, "processes": 1}  # all that settings check


def needs(tracker: str):
    """Mark of a test, or of a case, that a tracker's package is needed for."""
    return pytest.mark.skipif(
        find_spec(tracker) is None, reason=f"{tracker}: make env TRACKER={tracker}"
    )


BOTH = [pytest.param(name, marks=needs(name)) for name in PACKAGES]


@pytest.fixture
def someone(tmp_path, monkeypatch):
    """A user in a repository with a remote; returns what must not be told about them."""
    home = tmp_path / "home/jane-doe"
    home.mkdir(parents=True)
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "jane-doe")
    monkeypatch.setenv("HOME", str(home))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "janes-machine")
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    subprocess.run(["git", "init", "--quiet"], check=True)
    address = "https://example.org/secret-remote.git"
    subprocess.run(["git", "remote", "add", "origin", address], check=True)
    assert getpass.getuser() == "jane-doe"
    return ["jane-doe", "janes-machine", "secret-remote"]


def given(chain, folder: Path, tracker: str, epochs: int = 2, **more):
    """Settings of stage 1, whose section names a file, with pictures of every epoch."""
    root, configs = chain
    cfg = configs["autoencoder"] | {"sample_every": 1, "epochs": epochs}
    more |= {"tracker": tracker, "tracking": str(folder / "tracking"), "keep_checkpoints": True}
    return settings("autoencoder", cfg, folder / "run", root, **more)


def stopped_and_continued(chain, folder: Path, tracker: str) -> Path:
    """Train with an interruption after step 2 of 3; returns the folder of the model."""
    with pytest.raises(Interrupted):
        train(given(chain, folder, tracker, stop_after=2), Processes())
    train(given(chain, folder, tracker), Processes())
    return folder / "run/model"


def mlflow_runs(folder: Path) -> list[Path]:
    """Folders of the runs in MLflow's own files."""
    return sorted(file.parent for file in folder.glob("tracking/mlflow/*/*/meta.yaml"))


def wandb_runs(folder: Path) -> list[Path]:
    """Folders of W&B's runs, in the order of time."""
    import wandb

    wandb.teardown()  # as at the end of a process: all that is logged is on the disk
    return sorted(folder.glob("tracking/wandb/offline-run-*"))


def id_of(folder: Path, tracker: str) -> str:
    """Id beside the checkpoints."""
    return json.loads((saved(folder / "run").folder / f"{tracker}.json").read_text())["id"]


def personal(folder: Path, private: list[str], but: tuple[str, ...] = ()) -> list[str]:
    """Files below a folder that hold a private text, and which."""
    return [
        f"{path.relative_to(folder)}: {text}"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but
        for text in private
        if text.encode() in path.read_bytes() or text in path.name
    ]


# --- a training's run -----------------------------------------------------------------------------


@needs("mlflow")
def test_mlflow_keeps_one_run_of_an_interrupted_training(chain, tmp_path, someone):
    from mlflow import MlflowClient

    model = stopped_and_continued(chain, tmp_path, "mlflow")
    assert_same(load_state(model), load_state(chain[0] / "autoencoder"))
    (folder,) = mlflow_runs(tmp_path)
    assert folder.name == id_of(tmp_path, "mlflow")
    client = MlflowClient(tracking_uri=folder.parents[1].as_uri())
    kept = client.get_run(folder.name)
    assert (kept.info.run_name, kept.info.status) == ("autoencoder", "FINISHED")
    points = mlflow_points(folder)
    assert [step for step, name in points if name == "step/loss"] == [1, 2, 3]
    assert [step for step, name in points if name == "epoch/val_ssim"] == [2, 3]
    assert kept.data.params["autoencoder.batch_size"] == "4"
    assert kept.data.params["autoencoder.perceptual.weights"] == "squeeze.safetensors"
    assert (folder / "artifacts/samples/epoch-0002.png").read_bytes() == (
        model / "samples/epoch-0002.png"
    ).read_bytes()
    card = json.loads((folder / "artifacts/model.json").read_text())
    assert card["sha256"] == json.loads((model / "model.json").read_text())["sha256"]
    assert not (model / "tensorboard").exists()
    assert kept.data.tags.keys() == {"mlflow.runName"}
    place = str(chain[0])
    assert personal(tmp_path / "tracking", [*someone, place]) == []
    # MLflow's own files hold the address of their folder, and no other path.
    assert personal(tmp_path / "tracking", [str(tmp_path)], but=("meta.yaml",)) == []


@needs("wandb")
def test_wandb_keeps_one_run_of_an_interrupted_training(chain, tmp_path, someone):
    model = stopped_and_continued(chain, tmp_path, "wandb")
    assert_same(load_state(model), load_state(chain[0] / "autoencoder"))
    first, second = wandb_runs(tmp_path)
    about = [wandb_records(folder) for folder in (first, second)]
    runs = [record.run for records in about for record in records if record.HasField("run")]
    assert {run.run_id for run in runs} == {id_of(tmp_path, "wandb")}
    assert {(run.display_name, run.project) for run in runs} == {("autoencoder", "ldae")}
    points = wandb_points(first) + wandb_points(second)
    assert [step for step, name in points if name == "step/loss"] == [1, 2, 3]
    assert [step for step, name in points if name == "epoch/val_ssim"] == [2, 3]
    assert [step for step, name in points if name.startswith("samples")].count(3) > 0
    assert list(second.glob("files/media/images/*.png"))
    config = {
        item.key or item.nested_key[0]: item.value_json
        for run in runs
        for item in run.config.update
    }
    assert json.loads(config["autoencoder"])["perceptual"]["weights"] == "squeeze.safetensors"
    (artifact,) = [record.artifact for record in about[1] if record.HasField("artifact")]
    assert (artifact.type, artifact.name) == ("model-card", "autoencoder-card")
    (content,) = artifact.manifest.contents
    assert content.path == "model.json"
    card = json.loads(Path(content.local_path).read_text())
    assert card["sha256"] == json.loads((model / "model.json").read_text())["sha256"]
    kinds = {record.WhichOneof("record_type") for records in about for record in records}
    sent = {"header", "run", "telemetry", "files", "summary", "history", "artifact", "exit"}
    assert kinds == sent  # no environment (machine, program, repository), stats or output
    assert all(run.resume and not run.host and not run.HasField("git") for run in runs)
    assert personal(tmp_path / "tracking", [*someone, str(chain[0])]) == []


@pytest.mark.parametrize("tracker", BOTH)
def test_points_drawn_before_a_kill_are_not_drawn_twice(chain, tmp_path, tracker, someone):
    with pytest.raises(Interrupted):
        train(given(chain, tmp_path, tracker, 4, stop_after=1), Processes())
    checkpoints = saved(tmp_path / "run").folder
    shutil.copytree(checkpoints, tmp_path / "earlier")
    with pytest.raises(Interrupted):
        train(given(chain, tmp_path, tracker, 4, stop_after=4), Processes())
    note = (checkpoints / f"{tracker}.json").read_text()
    shutil.rmtree(checkpoints)
    shutil.copytree(tmp_path / "earlier", checkpoints)
    (checkpoints / f"{tracker}.json").write_text(note)  # a kill loses the checkpoint alone
    train(given(chain, tmp_path, tracker, 4), Processes())
    if tracker == "mlflow":
        (folder,) = mlflow_runs(tmp_path)
        points = mlflow_points(folder)
    else:
        points = [point for folder in wandb_runs(tmp_path) for point in wandb_points(folder)]
    assert [step for step, name in points if name == "step/loss"] == [1, 2, 3, 4, 5, 6]
    assert [step for step, name in points if name == "epoch/grad_norm"] == [2, 3, 5, 6]


@needs("mlflow")
def test_a_new_training_is_a_new_run_and_a_failed_one_says_so(chain, tmp_path, someone):
    from mlflow import MlflowClient

    with pytest.raises(Interrupted):
        train(given(chain, tmp_path, "mlflow", stop_after=1), Processes())
    shutil.rmtree(saved(tmp_path / "run").folder)
    blocked = given(chain, tmp_path, "mlflow", out_dir=str(tmp_path / "file/model"))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError):
        train(blocked, Processes())
    client = MlflowClient(tracking_uri=(tmp_path / "tracking/mlflow").as_uri())
    ends = {client.get_run(folder.name).info.status for folder in mlflow_runs(tmp_path)}
    assert ends == {"KILLED", "FAILED"}


# --- what goes wrong ------------------------------------------------------------------------------


@needs("wandb")
def test_a_run_that_wandb_has_lost_does_not_end_the_training(tmp_path, someone, caplog):
    from ldae.training.trackers.weights_and_biases import WandbRun

    made = WandbRun(settings("ldm", SIZES, tmp_path, tracking=str(tmp_path)), tmp_path)
    made.begin(0, 4)
    made.run.finish()
    for step in (1, 2):
        made.step(step, {"loss": 1.0})
    made.close(None)
    assert caplog.text.count("ldm: wandb did not take the points") == 1


@needs("mlflow")
def test_points_that_mlflow_does_not_take_wait_for_the_next_time(tmp_path, someone, caplog):
    from ldae.training.trackers.mlflow_runs import MlflowRun

    made = MlflowRun(
        settings("ldm", SIZES, tmp_path, tracking=str(tmp_path / "tracking")), tmp_path
    )
    made.begin(0, 4)
    made.step(1, {"loss": 1.0})
    (folder,) = mlflow_runs(tmp_path)
    folder.rename(tmp_path / "away")
    made.end()
    assert "ldm: mlflow did not take the points" in caplog.text
    assert mlflow_points(tmp_path / "away") == []
    (tmp_path / "away").rename(folder)
    made.step(2, {"loss": 0.5})
    made.close(None)
    assert mlflow_points(folder) == [(1, "step/loss"), (2, "step/loss")]


@needs("mlflow")
def test_a_run_that_is_gone_is_not_begun_anew_in_silence(chain, tmp_path, someone):
    with pytest.raises(Interrupted):
        train(given(chain, tmp_path, "mlflow", stop_after=1), Processes())
    (folder,) = mlflow_runs(tmp_path)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"If its run is gone, delete .*mlflow\.json to begin"):
        train(given(chain, tmp_path, "mlflow"), Processes())
    (saved(tmp_path / "run").folder / "mlflow.json").unlink()
    train(given(chain, tmp_path, "mlflow"), Processes())
    (folder,) = mlflow_runs(tmp_path)
    assert [step for step, name in mlflow_points(folder) if name == "step/loss"] == [2, 3]


@needs("mlflow")
def test_server_out_of_reach_stops_a_training_before_its_first_step(
    chain, tmp_path, someone, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"MLflow refuses the run of autoencoder.*TRACKING_URI"):
        train(given(chain, tmp_path, "mlflow"), Processes())
    assert not saved(tmp_path / "run").steps()


@needs("wandb")
@pytest.mark.parametrize(
    ("mode", "message"),
    [("offlin", "WANDB_MODE is 'offlin'; allowed are online"), ("online", "wandb login")],
)
def test_wandb_refuses_a_wrong_mode_and_a_missing_key(
    chain, tmp_path, someone, monkeypatch, mode, message
):
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=message):
        train(given(chain, tmp_path, "wandb"), Processes())


def test_missing_package_is_named_before_any_input_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    absent = settings("ldm", SIZES, tmp_path, tracker="mlflow", inputs={"latents": "nowhere"})
    with pytest.raises(UserError, match=r"mlflow-skinny is not installed.*TRACKER=mlflow"):
        run(absent)
    require_tracker("tensorboard")
    with pytest.raises(UserError, match="'neptune'; allowed are tensorboard, wandb, mlflow"):
        require_tracker("neptune")


def test_a_folder_with_the_name_of_a_package_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "runs_of_a_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PACKAGES, "runs_of_a_tracker", "its-package")
    assert missing_package("runs_of_a_tracker") == "its-package"
    monkeypatch.setitem(PACKAGES, "json", "json")
    assert missing_package("json") is None


def test_paths_are_replaced_by_names():
    content = {
        "pretrained": "resources/ukb.safetensors",
        "perceptual": {"weights": "/home/jane/squeeze.safetensors", "net": "squeeze"},
        "reason": "off: OSError: [Errno 2] No file '/home/jane/.venv/lib/x.so' (see ~/log.txt)",
        "shapes": [[1, 2], ["/data/a", "b/c"]],
        "page": "https://example.org/a/b at 3/4 of 1.5",
        "none": None,
    }
    assert without_paths(content) == {
        "pretrained": "ukb.safetensors",
        "perceptual": {"weights": "squeeze.safetensors", "net": "squeeze"},
        "reason": "off: OSError: [Errno 2] No file 'x.so' (see log.txt)",
        "shapes": [[1, 2], ["a", "b/c"]],
        "page": "https://example.org/a/b at 3/4 of 1.5",
        "none": None,
    }
