"""Distributed training: rank, rendezvous, launch and exit code of its processes."""

import signal
import socket
import subprocess
import sys
from datetime import timedelta

import pytest

from helpers.training import LDAE, LDM, settings
from ldae.errors import UserError
from ldae.training.distributed.launch import over_nodes, require_gpus, wait
from ldae.training.distributed.processes import (
    Processes,
    process_group,
    processes_from_environment,
    rendezvous_address,
)
from ldae.training.settings import Settings, model_settings

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}


def test_processes_from_environment_of_torchrun_and_srun():
    assert processes_from_environment(TORCHRUN, slurm_task=False) == Processes(3, 8, 1)
    assert processes_from_environment(SLURM, slurm_task=True, launcher=7) == Processes(
        5, 8, 1, 7, True
    )
    assert (
        processes_from_environment(SLURM, slurm_task=False) is None
    )  # a batch script has these variables as well
    assert processes_from_environment({}, slurm_task=False) is None
    with pytest.raises(UserError, match="srun"):
        processes_from_environment({}, slurm_task=True)


def test_process_group_refuses_size_other_than_settings():
    with (
        pytest.raises(UserError, match=r"in 4 process\(es\).*2 were started"),
        process_group(Processes(0, 2), "cpu", 4),
    ):
        pass


def test_rendezvous_address_is_first_node_and_own_port_of_slurm_step():
    step = {"SLURM_JOB_ID": "123456", "SLURM_STEP_ID": "2", "SLURM_NODELIST": "other"}
    for nodes, host in (
        ("gpu7", "gpu7"),
        ("gpu[03-05,9],b", "gpu03"),
        ("a,gpu[1-2]", "a"),
        ("rack[2-3]n[08,11]", "rack2n08"),
        ("gpu[12]-ib,x", "gpu12-ib"),
    ):
        assert rendezvous_address(step | {"SLURM_STEP_NODELIST": nodes})[0] == host
    assert rendezvous_address(step)[0] == "other"
    others = [step | {"SLURM_STEP_ID": "3"}, step | {"SLURM_JOB_ID": "123457"}]
    ports = {rendezvous_address(one)[1] for one in (step, *others)}
    assert len(ports) == 3
    assert all(20000 <= port < 32000 for port in ports)


def test_process_group_times_out_without_other_processes(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    with (
        pytest.raises(UserError, match=rf"has not met all others at 127\.0\.0\.1:{port} in 1 s"),
        process_group(Processes(0, 2), "cpu", 2, timedelta(seconds=1)),
    ):
        pass


def test_launch_refuses_too_few_gpus(tmp_path):
    given = settings("ldm", LDM | {"processes": 4, "micro_batch": 1}, tmp_path)
    require_gpus(given, 4)
    with pytest.raises(UserError, match=r"ldm\.processes is 4.* sees 1 GPU"):
        require_gpus(given, 1)


def test_process_is_orphaned_when_launcher_is_gone():
    assert not Processes().orphaned
    assert Processes(launcher=1 << 22).orphaned


def test_settings_round_trip_through_file(tmp_path):
    given = settings("ldm", LDM, tmp_path, fingerprint="abc", threads=4)
    given.write(tmp_path / "settings.json")
    assert Settings.read(tmp_path / "settings.json") == given
    with pytest.raises(UserError, match="no training settings"):
        Settings.read(tmp_path / "none.json")
    (tmp_path / "settings.json").write_text('{"stage": "ldm"}')
    with pytest.raises(UserError, match="no training settings"):
        Settings.read(tmp_path / "settings.json")


def test_model_settings_ignore_processes_workers_and_sampling():
    other = LDM | {"processes": 8, "workers": 3, "sample_every": 7, "sample_steps": 9}
    assert model_settings(LDM) == model_settings(other)
    assert model_settings(LDM) != model_settings(LDM | {"learning_rate": 1.0})
    assert model_settings(LDAE) == model_settings(LDAE | {"probe_scans": 99})
    assert model_settings(LDAE) != model_settings(
        LDAE | {"validate_scans": 99}
    )  # it selects the weights


def start(*codes: str) -> list[subprocess.Popen]:
    return [subprocess.Popen([sys.executable, "-S", "-c", code]) for code in codes]


def test_wait_returns_worst_exit_code_and_ends_others_on_failure():
    sleep = "import time; time.sleep(60)"
    assert wait(start("", ""), set()) == 0
    assert wait(start("", "import sys; sys.exit(75)"), set()) == 75
    assert wait(start("1 / 0", sleep), set()) == 1
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert wait(start(killed, sleep), set()) == 1
    assert wait(start(killed, sleep), {signal.SIGTERM}) == 75  # before it could handle the signal


def test_launch_over_nodes_divides_processes_equally_or_refuses(tmp_path):
    given = settings("ldm", LDM | {"processes": 4, "micro_batch": 1}, tmp_path, threads=16)
    srun = over_nodes(given, ["python"], 2)
    assert {"--ntasks=4", "--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=4"} <= set(srun)
    assert srun[-2:] == ["python", "--slurm-task"]
    with pytest.raises(UserError, match="3 nodes cannot share equally"):
        over_nodes(given, [], 3)
