"""Precision of a training: automatic choice, kept while there are checkpoints."""

import logging
from dataclasses import replace

import pytest
import torch

from ldae.errors import UserError
from ldae.training.precision import choose_precision, training_precision
from ldae.training.settings import Settings, delete_checkpoints


@pytest.fixture
def cpu(monkeypatch):
    """Set whether the CPU has matrix units for bf16."""

    def set_units(present: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": present})

    return set_units


def settings(folder, precision: str) -> Settings:
    cfg = {"batch_size": 1, "micro_batch": 1, "processes": 1, "precision": precision}
    return Settings("ldm", {}, str(folder / "model"), str(folder / "runs"), cfg, seed=1)


def checkpoint(folder) -> None:
    (folder / "runs/0123").mkdir(parents=True)
    (folder / "runs/0123/identity.json").write_text("{}")


def test_auto_is_bf16_on_cpus_with_matrix_units_else_fp32(tmp_path, cpu, caplog):
    caplog.set_level(logging.INFO)
    for present, precision in ((True, "bf16"), (False, "fp32")):
        cpu(present)
        assert training_precision(settings(tmp_path, "auto")).name == precision
    assert "precision fp32: the CPU has no matrix units for bf16 (AMX)" in caplog.text


def test_resumed_training_keeps_its_precision_on_another_cpu(tmp_path, cpu):
    cpu(False)
    assert training_precision(settings(tmp_path, "auto")).name == "fp32"
    checkpoint(tmp_path)
    cpu(True)
    assert training_precision(settings(tmp_path, "auto")).name == "fp32"
    assert training_precision(settings(tmp_path, "bf16")).name == "bf16"


def test_choice_is_deleted_with_the_last_checkpoints(tmp_path, cpu):
    cpu(False)
    training_precision(settings(tmp_path, "auto"))
    checkpoint(tmp_path)
    (tmp_path / "runs/4567").mkdir()
    delete_checkpoints(tmp_path / "runs/0123")
    assert (tmp_path / "runs/precision.json").is_file()
    delete_checkpoints(tmp_path / "runs/4567")
    assert not list((tmp_path / "runs").iterdir())


def test_auto_is_chosen_anew_without_checkpoints(tmp_path, cpu):
    cpu(False)
    training_precision(settings(tmp_path, "auto"))
    cpu(True)
    assert training_precision(settings(tmp_path, "auto")).name == "bf16"


def test_only_the_first_process_writes_the_choice(tmp_path, cpu):
    cpu(False)
    assert training_precision(settings(tmp_path, "auto"), first=False).name == "fp32"
    assert not (tmp_path / "runs").exists()


def test_bf16_on_a_cpu_without_matrix_units_is_warned_of(tmp_path, cpu, caplog):
    cpu(True)
    training_precision(settings(tmp_path, "bf16"))
    assert not caplog.records
    cpu(False)
    assert training_precision(settings(tmp_path, "bf16")).name == "bf16"
    assert "about 1.4 times as long as in fp32" in caplog.text


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_cuda_is_bf16_if_supported(monkeypatch, supported, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert choose_precision("cuda")[0] == precision


def test_auto_refuses_cuda_without_a_gpu_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cuda = replace(settings(tmp_path, "auto"), device="cuda")
    with pytest.raises(UserError, match="device: cuda is asked for"):
        training_precision(on_cuda)
    assert not (tmp_path / "runs").exists()
