"""Training record: restored from the model card if lost, unless settings have changed."""

import os

import pytest

from ldae.errors import UserError
from ldae.files import read_json, write_json
from ldae.orchestration.training_record import restore_training_record

RECORD = {"settings": {"epochs": 3, "channels": (1, 2)}, "data": {"volumes": {"spacing": 2.0}}}


@pytest.fixture
def model(tmp_path):
    """A model's folder; its card is newer than its history."""
    folder = tmp_path / "models/ldm"
    for name, seconds in (("history.tsv", 100), ("model.json", 200)):
        write_json({"told": RECORD}, folder / name)
        os.utime(folder / name, (seconds, seconds))
    return folder


def test_lost_training_record_is_restored_older_than_model(model, tmp_path):
    record = tmp_path / "models/training/ldm.json"
    restore_training_record(RECORD, record, model, ["volumes"])
    assert record.with_name("volumes.ready").stat().st_mtime == 100
    assert read_json(record) == {**RECORD, "settings": {"epochs": 3, "channels": [1, 2]}}
    assert record.stat().st_mtime == 100


def test_training_record_is_not_restored_from_model_of_other_settings(model, tmp_path):
    record = tmp_path / "models/training/ldm.json"
    other = RECORD | {"data": {"volumes": {"spacing": 1.0}}, "seed": 1}
    with pytest.raises(
        UserError, match=r"other settings .*: data\.volumes\.spacing, seed\. Restore.* delete"
    ):
        restore_training_record(other, record, model)
    write_json({}, model / "model.json")
    with pytest.raises(UserError, match="data, settings"):
        restore_training_record(RECORD, record, model)
    assert not record.exists()


def test_existing_training_record_is_kept_and_none_written_without_model(model, tmp_path):
    record = tmp_path / "models/training/ldm.json"
    write_json({"older": 1}, record)
    restore_training_record(RECORD, record, model)
    assert read_json(record) == {"older": 1}
    restore_training_record(RECORD, tmp_path / "other.json", tmp_path / "models/dae")
    assert not (tmp_path / "other.json").exists()
