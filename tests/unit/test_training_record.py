"""A lost note of what a training was told costs no training, and hides no other settings."""

import os

import pytest

from ldae.errors import UserError
from ldae.files import read_json, write_json
from ldae.orchestration.training_record import restore_training_record

TOLD = {"settings": {"epochs": 3, "channels": (1, 2)}, "data": {"volumes": {"spacing": 2.0}}}


@pytest.fixture
def model(tmp_path):
    """A model's folder, its card written after its weights."""
    folder = tmp_path / "models/ldm"
    for name, seconds in (("history.tsv", 100), ("model.json", 200)):
        write_json({"told": TOLD}, folder / name)
        os.utime(folder / name, (seconds, seconds))
    return folder


def test_a_lost_note_is_written_again_and_is_older_than_the_model(model, tmp_path):
    note = tmp_path / "models/training/ldm.json"
    restore_training_record(TOLD, note, model, ["volumes"])
    assert note.with_name("volumes.ready").stat().st_mtime == 100
    assert read_json(note) == {**TOLD, "settings": {"epochs": 3, "channels": [1, 2]}}
    assert note.stat().st_mtime == 100


def test_a_model_that_was_told_otherwise_is_not_taken_for_this_one(model, tmp_path):
    note = tmp_path / "models/training/ldm.json"
    other = TOLD | {"data": {"volumes": {"spacing": 1.0}}, "seed": 1}
    with pytest.raises(
        UserError, match=r"other settings .*: data\.volumes\.spacing, seed\. Restore.* delete"
    ):
        restore_training_record(other, note, model)
    write_json({}, model / "model.json")
    with pytest.raises(UserError, match="data, settings"):
        restore_training_record(TOLD, note, model)
    assert not note.exists()


def test_a_note_that_is_there_stays_and_without_a_model_there_is_none(model, tmp_path):
    note = tmp_path / "models/training/ldm.json"
    write_json({"older": 1}, note)
    restore_training_record(TOLD, note, model)
    assert read_json(note) == {"older": 1}
    restore_training_record(TOLD, tmp_path / "other.json", tmp_path / "models/dae")
    assert not (tmp_path / "other.json").exists()
