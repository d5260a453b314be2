"""A model may be used with a store it was not trained on, unless it has seen who is tested."""

import numpy as np
import pandas as pd
import pytest

from helpers.stores import write_store
from ldae.data.thumbnails import SAME, thumbnail, thumbnail_distance
from ldae.data.volume_store import VolumeStore
from ldae.data.volume_transform import to_stored
from ldae.errors import UserError
from ldae.files import write_table
from ldae.models.training_scans import (
    read_training_scans,
    refuse_leakage,
    require_fit,
    write_training_scans,
)
from ldae.report.warnings import changed_scans_warning

SIDES = {"sub-a": "train", "sub-b": "train", "sub-c": "val", "sub-d": "test"}
GRID = {"kind": "volumes", "spacing": 1.0, "affine": np.eye(4).tolist()}


def volumes_of(
    folder, sides=SIDES, grid=GRID, seeds=None, image_hash=None, shape=(4, 4, 4), noise=0.0
):
    """A store of one scan a subject; ``seeds`` make other contents of some."""
    index = pd.DataFrame({"participant_id": list(sides), "split": list(sides.values())})
    index.insert(0, "scan_id", index["participant_id"] + "_ses-M000")
    if image_hash:
        index["image_hash"] = index["participant_id"].map(image_hash)
    drawn = [
        np.random.default_rng((seeds or {}).get(name, ord(name[-1]))).random((1, *shape))
        for name in sides
    ]
    volumes = np.stack(drawn) + noise * np.random.default_rng(7).standard_normal((1, *shape))
    write_store(folder, index, grid, volumes=volumes.astype(np.float32))
    return VolumeStore(folder)


@pytest.fixture
def model(tmp_path):
    """Folder and card of a model trained on four subjects."""
    folder = tmp_path / "ae"
    images = {name: name for name in SIDES}
    return folder, write_training_scans(volumes_of(tmp_path / "first", image_hash=images), folder)


def test_what_a_model_has_seen_is_kept_without_the_test_split(model):
    folder, card = model
    seen = pd.read_csv(folder / "scans.tsv", sep="\t")
    assert seen["participant_id"].tolist() == ["sub-a", "sub-b", "sub-c"]
    assert {key: card["scans"][key] for key in ("train", "val", "subjects")} == {
        "train": 2, "val": 1, "subjects": 3,
    }  # fmt: skip


def test_new_subjects_a_mended_scan_and_one_that_left_are_no_obstacle(model, tmp_path):
    folder, card = model
    sides = {"sub-0": "test", "sub-a": "train", "sub-b": "train", "sub-d": "test", "sub-e": "train"}
    store = volumes_of(tmp_path / "more", sides, seeds={"sub-a": 99})
    require_fit(store, card, folder)
    assert store.form == card["form"]


def test_a_subject_seen_in_training_or_validation_is_not_tested(model, tmp_path):
    folder, card = model
    for name in ("sub-a", "sub-c"):
        store = volumes_of(tmp_path / name, SIDES | {name: "test"})
        with pytest.raises(UserError, match=rf"test split .* now, {name}: .*--forcerun ae"):
            refuse_leakage(store, card, folder)
        refuse_leakage(store, card | {"published": True}, folder)  # nobody knows whom it has seen


def test_an_image_seen_under_another_name_is_not_tested(model, tmp_path):
    folder, card = model
    sides = {"sub-b": "train", "sub-c": "val", "sub-d": "test", "sub-x": "test"}
    images = {name: name for name in sides} | {"sub-x": "sub-a"}  # sub-a was excluded
    store = volumes_of(tmp_path / "renamed", sides, image_hash=images)
    with pytest.raises(UserError, match="now, sub-x: "):
        refuse_leakage(store, card, folder)


def test_volumes_that_look_otherwise_are_refused(model, tmp_path):
    folder, card = model
    anew = volumes_of(tmp_path / "anew", seeds={"sub-a": 1, "sub-b": 2})
    with pytest.raises(UserError, match=r"2 of the 3 scans .* have changed since"):
        require_fit(anew, card, folder)
    shifted = volumes_of(tmp_path / "near", grid=GRID | {"affine": (np.eye(4) + 1e-5).tolist()})
    require_fit(shifted, card, folder)
    for name, grid, shape in (
        ("spacing", GRID | {"spacing": 2.0}, (4, 4, 4)),
        ("affine", GRID | {"affine": (2 * np.eye(4)).tolist()}, (4, 4, 4)),
        ("shape", GRID, (4, 4, 6)),
    ):
        with pytest.raises(UserError, match=f"differ in {name}. "):
            require_fit(volumes_of(tmp_path / name, grid=grid, shape=shape), card, folder)


def test_other_bits_are_no_other_look(model, tmp_path):
    """As of another build of a library: all checksums differ, and no image does."""
    folder, card = model
    store = volumes_of(tmp_path / "bits", noise=2e-3)
    seen = read_training_scans(folder, card).merge(store.index, on="scan_id")
    assert (seen["sha256_x"] != seen["sha256_y"]).all()
    require_fit(store, card, folder)
    assert changed_scans_warning({"ae": card}, tmp_path, store.index) == []


def test_what_looks_otherwise_is_told_to_readers_though_it_is_few(model, tmp_path):
    folder, card = model
    store = volumes_of(tmp_path / "one", seeds={"sub-a": 99})
    require_fit(store, card, folder)
    (warning,) = changed_scans_warning({"ae": card, "given": {}}, folder.parent, store.index)
    assert "ae (1 of 3 scans)" in warning


def test_a_model_of_latents_knows_no_looks(model, tmp_path):
    folder, card = model
    write_table(read_training_scans(folder, card).drop(columns="look"), tmp_path / "ldm/scans.tsv")
    store = volumes_of(tmp_path / "one", seeds={"sub-a": 99})
    assert changed_scans_warning({"ldm": card}, tmp_path, store.index) == []


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_a_look_tells_a_shift_and_a_flip_from_rounding(dtype):
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in (22, 27, 23)), indexing="ij")
    radius = np.sqrt(sum((axis - off) ** 2 for axis, off in zip(axes, (0.1, 0, 0), strict=True)))
    brain = np.clip(1.2 - 1.2 * radius, 0, 1)[None]
    mine = thumbnail(to_stored(brain, dtype))
    assert thumbnail_distance(mine, thumbnail(to_stored(np.clip(brain + 1e-3, 0, 1), dtype))) < SAME
    for other in (np.roll(brain, 1, 1), brain[:, ::-1], 0.95 * brain):
        assert thumbnail_distance(mine, thumbnail(to_stored(other, dtype))) > SAME


def test_published_models_of_other_volumes_name_their_own_rule(tmp_path):
    store = volumes_of(tmp_path / "now")
    card = {"published": True, "form": store.form | {"spacing": 2.0}}
    with pytest.raises(UserError, match=r"differ in spacing.*--forcerun published"):
        require_fit(store, card, tmp_path / "autoencoder")


def test_a_list_that_is_not_the_models_is_refused(model, tmp_path):
    folder, card = model
    store = volumes_of(tmp_path / "same")
    with (folder / "scans.tsv").open("a") as stream:
        stream.write("\n")
    with pytest.raises(UserError, match="leakage into the test split cannot"):
        refuse_leakage(store, card, folder)
    (folder / "scans.tsv").unlink()
    with pytest.raises(UserError, match="leakage into the test split cannot"):
        refuse_leakage(store, card, folder)


def test_what_is_learnt_from_does_not_change_with_the_test_split(tmp_path):
    first, more = volumes_of(tmp_path / "1"), volumes_of(tmp_path / "2", SIDES | {"sub-z": "test"})
    other = volumes_of(tmp_path / "3", SIDES | {"sub-z": "train"})
    assert first.content_hash != more.content_hash
    assert first.training_hash == more.training_hash != other.training_hash
