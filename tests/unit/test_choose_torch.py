"""The torch that `make env` chooses: by the GPU, and by what pip can get (pip itself is asked)."""

import os
import subprocess
import sys
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "envs/choose_torch.py"


@pytest.fixture
def script():
    spec = spec_from_file_location("choose_torch", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Function that makes a folder with these versions of torch the only thing that pip sees."""
    monkeypatch.chdir(ROOT)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    def write(*versions):
        for version in versions:
            info = f"torch-{version}.dist-info"
            with zipfile.ZipFile(tmp_path / f"torch-{version}-py3-none-any.whl", "w") as wheel:
                metadata = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
                wheel.writestr(f"{info}/METADATA", metadata)
                wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
                wheel.writestr(f"{info}/RECORD", "")

    return write


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Function that puts a shell script as nvidia-smi on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(body):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return write


@pytest.fixture
def version():
    (line,) = [
        line for line in (ROOT / "envs/torch.txt").read_text().splitlines() if line[:1] != "#"
    ]
    return line.removeprefix("torch==")


@pytest.mark.parametrize("gpu, build", [(False, "cpu"), (True, "cuda")])
def test_build_follows_the_gpu_where_pip_has_both(script, offer, version, gpu, build):
    offer(version, f"{version}+cpu")
    file, why = script.choose(gpu)
    assert file == f"envs/torch-{build}.txt"
    assert "cannot" not in why


@pytest.mark.skipif(sys.platform != "linux", reason="torch has one build here")
@pytest.mark.parametrize("gpu, missing", [(False, "for CPUs"), (True, "with CUDA")])
def test_other_build_is_taken_and_said_where_pip_has_no_other(script, offer, version, gpu, missing):
    offer(version if not gpu else f"{version}+cpu")
    file, why = script.choose(gpu)
    assert file == "envs/torch.txt"
    assert f"pip cannot get torch {missing} (Could not find a version" in why
    assert "from versions" not in why and "docs/install.md" in why


def test_script_prints_the_file_for_make_and_the_reason_for_the_reader(offer, smi, version):
    offer(f"{version}+cpu", version)
    smi("exit 9")
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    gpu = any(Path("/dev").glob("nvidia[0-9]*"))
    assert done.stdout == f"envs/torch-{'cuda' if gpu else 'cpu'}.txt\n"
    assert "GPU is seen" in done.stderr


@pytest.mark.parametrize(
    "body, seen",
    [
        ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'", True),
        ("echo 'No devices found.'", False),  # a driver without a card
        ("echo 'GPU 0: has failed'; exit 9", False),
        (None, False),
    ],
)
def test_gpu_is_seen_by_nvidia_smi(script, smi, tmp_path, body, seen):
    if body:
        smi(body)
    elif Path("/usr/bin/nvidia-smi").exists():
        pytest.skip("this machine has nvidia-smi")
    assert script.gpu_is_seen(devices=tmp_path / "dev") is seen


def test_gpu_is_seen_by_its_device_file(script, smi, tmp_path):
    smi("exit 9")
    devices = tmp_path / "dev"
    devices.mkdir()
    (devices / "nvidiactl").touch()  # the driver's own, there without any card
    assert not script.gpu_is_seen(devices)
    (devices / "nvidia0").touch()
    assert script.gpu_is_seen(devices)
