"""Scratch copies of stores: complete, made once per node, and without effect on the training."""

import errno
import fcntl
import multiprocessing
import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.stores import write_store
from helpers.training import LDM, assert_same, saved, settings
from ldae.data import scratch
from ldae.data.latent_store import LatentStore
from ldae.data.scratch import KINDS, on_scratch
from ldae.errors import UserError
from ldae.locks import locked
from ldae.models.storage import load_state
from ldae.training.distributed.processes import Processes
from ldae.training.distributed.signals import Interrupted
from ldae.training.stages import train


@pytest.fixture
def stores(tmp_path):
    """A volume and a latent store of six scans."""
    rng = np.random.default_rng(0)
    index = pd.DataFrame({"scan_id": [f"scan{i}" for i in range(6)]})
    index["participant_id"] = [f"sub-{i}" for i in range(6)]
    index["split"] = ["train"] * 4 + ["val", "test"]
    volumes = rng.random((6, 1, 4, 4, 4)).astype(np.float16)
    moments = {name: rng.random((6, 2, 2, 2, 2)).astype(np.float32) for name in ("mean", "std")}
    write_store(tmp_path / "stores/volumes", index, {}, volumes=volumes)
    write_store(tmp_path / "stores/latents", index, {"autoencoder": "", "scale": 1.0}, **moments)
    (tmp_path / "disk").mkdir()
    inputs = {name: str(tmp_path / "stores" / name) for name in KINDS}
    return inputs | {"autoencoder": "a/model"}, tmp_path / "disk"


def folder(disk):
    return disk / f"ldae-{os.getuid()}"


def test_scratch_copies_complete_stores_and_no_models(stores, monkeypatch):
    inputs, disk = stores
    monkeypatch.setenv("NODE_DISK", str(disk))
    copies = on_scratch(inputs, "$NODE_DISK")
    assert copies["autoencoder"] == "a/model"
    for name in KINDS:
        assert copies[name].startswith(f"{folder(disk)}/{name}-")
        copy, original = KINDS[name](copies[name]), KINDS[name](inputs[name])
        copy.verify()
        assert copy.content_hash == original.content_hash
        assert copy.index.equals(original.index)
    assert stat.S_IMODE(folder(disk).stat().st_mode) == 0o700
    assert not list(disk.rglob("*.part"))
    assert on_scratch(inputs, None) == inputs


def test_scratch_copy_is_reused_and_replaced_if_damaged(stores):
    inputs, disk = stores
    array = Path(on_scratch(inputs, str(disk))["volumes"]) / "shards/shard-0.npy"
    made = array.stat()
    other_part = folder(disk) / "volumes-0.part"
    other_part.mkdir()
    on_scratch(inputs, str(disk))
    assert array.stat().st_ino == made.st_ino
    os.truncate(array, made.st_size - 1)
    copy = on_scratch(inputs, str(disk))["volumes"]
    KINDS["volumes"](copy).verify()
    assert other_part.exists()  # may be of another job that copies another store


def test_scratch_replaces_the_partial_copy_of_a_killed_job(stores, monkeypatch):
    inputs, disk = stores

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scratch, "verify", killed)
    with pytest.raises(KeyboardInterrupt):
        on_scratch(inputs, str(disk))
    monkeypatch.undo()
    (part,) = folder(disk).glob("*.part")
    (part / "index.tsv").write_text("")
    KINDS["volumes"](on_scratch(inputs, str(disk))["volumes"]).verify()
    assert not part.exists()


def test_scratch_copy_depends_on_the_store_index(stores):
    """A corrected diagnosis does not change the content hash of a store, but trainings read it."""
    inputs, disk = stores
    first = on_scratch(inputs, str(disk))["volumes"]
    volumes = KINDS["volumes"](inputs["volumes"])
    array = volumes.volumes(np.arange(6)).numpy().astype(np.float16)
    index = volumes.index.drop(columns=["row", "sha256", "file", "file_row"])
    other = f"{inputs['volumes']}2"
    write_store(
        volumes.folder.with_name("volumes2"), index.assign(diagnosis="AD"), {}, volumes=array
    )
    second = on_scratch({"volumes": other}, str(disk))["volumes"]
    assert KINDS["volumes"](other).content_hash == volumes.content_hash
    assert second != first
    assert set(KINDS["volumes"](second).index["diagnosis"]) == {"AD"}


def test_scratch_reports_a_full_disk_before_and_while_copying(stores, monkeypatch):
    inputs, disk = stores
    needed = sum(
        (KINDS["volumes"](inputs["volumes"]).folder / file).stat().st_size
        for file in KINDS["volumes"](inputs["volumes"]).files()
    )
    with monkeypatch.context() as patched:
        free = SimpleNamespace(free=needed - 1)
        patched.setattr(scratch.shutil, "disk_usage", lambda path: free)
        with pytest.raises(UserError, match=f"needs {needed} bytes .* has {needed - 1} free"):
            on_scratch(inputs, str(disk))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scratch.os, "fsync", full)
    with pytest.raises(UserError, match=r"paths\.scratch: null"):
        on_scratch(inputs, str(disk))
    assert not [path for path in folder(disk).iterdir() if path.is_dir()]


def test_scratch_refuses_a_damaged_store(stores):
    inputs, disk = stores
    damaged = KINDS["volumes"](inputs["volumes"]).folder / "shards/shard-1.npy"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(UserError, match="differs from the store's checksums"):
        on_scratch(inputs, str(disk))
    assert not [path for path in folder(disk).iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("$NO_SUCH_DISK/x", "not all of its variables"), ("/no/such/disk", "no such folder")],
)
def test_scratch_names_a_missing_disk_or_unset_variable(wanted, message):
    with pytest.raises(UserError, match=message):
        on_scratch({}, wanted)


def test_scratch_refuses_a_symlink_in_place_of_its_folder(stores, tmp_path):
    inputs, disk = stores
    folder(disk).symlink_to(tmp_path)
    with pytest.raises(UserError, match="not a folder of yours"):
        on_scratch(inputs, str(disk))


def test_scratch_copy_is_made_once_for_all_jobs_of_a_node(stores, monkeypatch):
    inputs, disk = stores
    copy_files, made = scratch.copy_files, disk / "made"

    def slowly(*arguments):
        with made.open("a") as stream:
            stream.write("x")
        time.sleep(0.3)
        copy_files(*arguments)

    monkeypatch.setattr(scratch, "copy_files", slowly)
    forked = multiprocessing.get_context("fork")
    jobs = [forked.Process(target=on_scratch, args=(inputs, str(disk))) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    assert made.read_text() == "xx"  # one of each store


def test_scratch_wait_for_a_locked_copy_ends_and_names_its_owner(stores, monkeypatch):
    inputs, disk = stores
    lock = Path(on_scratch(inputs, str(disk))["volumes"]).with_suffix(".lock")
    monkeypatch.setattr(scratch, "PATIENCE", 0.0)
    with (
        locked(lock, "it"),
        pytest.raises(
            UserError, match=rf"volumes-\w+ is being written by process {os.getpid()} on"
        ),
    ):
        on_scratch(inputs, str(disk))


def test_scratch_works_on_a_disk_without_file_locks(stores, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    inputs, disk = stores
    monkeypatch.setattr(fcntl, "flock", no_locks)
    KINDS["volumes"](on_scratch(inputs, str(disk))["volumes"]).verify()
    assert "has no locks" in caplog.text


def test_training_resumes_from_scratch_copies_with_the_same_result(chain, tmp_path, monkeypatch):
    root, _ = chain
    (tmp_path / "disk").mkdir()
    opened = []
    init = LatentStore.__init__
    monkeypatch.setattr(
        LatentStore,
        "__init__",
        lambda self, path, *more: opened.append(str(path)) or init(self, path, *more),
    )

    def trained(name, disk, **more):
        run = settings(
            "ldm", LDM, tmp_path / name, root, scratch=disk, keep_checkpoints=True, **more
        )
        train(run, Processes())
        saved(tmp_path / name)  # one training, not two
        return load_state(run.out_dir)

    in_place = trained("in_place", None)
    assert opened[-1] == str(root / "latents")
    with pytest.raises(Interrupted):
        trained("moved", None, stop_after=1)
    assert_same(in_place, trained("moved", str(tmp_path / "disk")))
    assert opened[-1].startswith(str(folder(tmp_path / "disk")))
