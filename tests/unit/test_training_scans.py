"""Training scans of a model: their list, refusal of leakage, detection of changed volumes."""

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

SPLITS = {"sub-a": "train", "sub-b": "train", "sub-c": "val", "sub-d": "test"}
GRID = {"kind": "volumes", "spacing": 1.0, "affine": np.eye(4).tolist()}


def make_store(
    folder, splits=SPLITS, grid=GRID, seeds=None, image_hash=None, shape=(4, 4, 4), noise=0.0
):
    """A store of one scan per subject; ``seeds`` change the contents of some."""
    index = pd.DataFrame({"participant_id": list(splits), "split": list(splits.values())})
    index.insert(0, "scan_id", index["participant_id"] + "_ses-M000")
    if image_hash:
        index["image_hash"] = index["participant_id"].map(image_hash)
    drawn = [
        np.random.default_rng((seeds or {}).get(name, ord(name[-1]))).random((1, *shape))
        for name in splits
    ]
    volumes = np.stack(drawn) + noise * np.random.default_rng(7).standard_normal((1, *shape))
    write_store(folder, index, grid, volumes=volumes.astype(np.float32))
    return VolumeStore(folder)


@pytest.fixture
def model(tmp_path):
    """Folder and card of a model trained on four subjects."""
    folder = tmp_path / "ae"
    images = {name: name for name in SPLITS}
    return folder, write_training_scans(make_store(tmp_path / "first", image_hash=images), folder)


def test_training_scans_list_omits_test_split(model):
    folder, card = model
    trained_on = pd.read_csv(folder / "scans.tsv", sep="\t")
    assert trained_on["participant_id"].tolist() == ["sub-a", "sub-b", "sub-c"]
    assert {key: card["scans"][key] for key in ("train", "val", "subjects")} == {
        "train": 2, "val": 1, "subjects": 3,
    }  # fmt: skip


def test_external_test_set_changes_no_training_and_may_share_nobody_with_it(model, tmp_path):
    folder, card = model
    before = make_store(tmp_path / "before")
    store = make_store(tmp_path / "after", SPLITS | {"sub-x": "external"})
    assert store.training_hash == before.training_hash
    assert store.rows("test").tolist() == before.rows("test").tolist()
    require_fit(store, card | {"form": store.form}, folder)
    leaked = make_store(tmp_path / "leaked", SPLITS | {"sub-a": "external"})
    with pytest.raises(UserError, match=r"trained on 1 subject.*sub-a"):
        refuse_leakage(leaked, card, folder)


def test_model_fits_store_with_new_changed_and_removed_scans(model, tmp_path):
    folder, card = model
    split = {"sub-0": "test", "sub-a": "train", "sub-b": "train", "sub-d": "test", "sub-e": "train"}
    store = make_store(tmp_path / "more", split, seeds={"sub-a": 99})
    require_fit(store, card, folder)
    assert store.form == card["form"]


def test_leakage_check_refuses_training_subject_in_test_split(model, tmp_path):
    folder, card = model
    for name in ("sub-a", "sub-c"):
        store = make_store(tmp_path / name, SPLITS | {name: "test"})
        with pytest.raises(UserError, match=rf"test split .* now, {name}: .*--forcerun ae"):
            refuse_leakage(store, card, folder)
        refuse_leakage(store, card | {"published": True}, folder)  # its subjects are unknown


def test_leakage_check_refuses_training_image_under_another_subject(model, tmp_path):
    folder, card = model
    split = {"sub-b": "train", "sub-c": "val", "sub-d": "test", "sub-x": "test"}
    images = {name: name for name in split} | {"sub-x": "sub-a"}  # sub-a was excluded
    store = make_store(tmp_path / "renamed", split, image_hash=images)
    with pytest.raises(UserError, match="now, sub-x: "):
        refuse_leakage(store, card, folder)


def test_model_fit_refuses_changed_preprocessing_and_other_grid(model, tmp_path):
    folder, card = model
    changed = make_store(tmp_path / "anew", seeds={"sub-a": 1, "sub-b": 2})
    with pytest.raises(UserError, match=r"2 of the 3 scans .* have changed since"):
        require_fit(changed, card, folder)
    shifted = make_store(tmp_path / "near", grid=GRID | {"affine": (np.eye(4) + 1e-5).tolist()})
    require_fit(shifted, card, folder)
    for name, grid, shape in (
        ("spacing", GRID | {"spacing": 2.0}, (4, 4, 4)),
        ("affine", GRID | {"affine": (2 * np.eye(4)).tolist()}, (4, 4, 4)),
        ("shape", GRID, (4, 4, 6)),
    ):
        with pytest.raises(UserError, match=f"differ in {name}. "):
            require_fit(make_store(tmp_path / name, grid=grid, shape=shape), card, folder)


def test_model_fit_ignores_rounding_differences(model, tmp_path):
    """Another build of a library changes the checksums of all volumes, but no image."""
    folder, card = model
    store = make_store(tmp_path / "bits", noise=2e-3)
    both = read_training_scans(folder, card).merge(store.index, on="scan_id")
    assert (both["sha256_x"] != both["sha256_y"]).all()
    require_fit(store, card, folder)
    assert changed_scans_warning({"ae": card}, tmp_path, store.index) == []


def test_changed_scans_warning_counts_a_few_changed_scans(model, tmp_path):
    folder, card = model
    store = make_store(tmp_path / "one", seeds={"sub-a": 99})
    require_fit(store, card, folder)
    (warning,) = changed_scans_warning({"ae": card, "given": {}}, folder.parent, store.index)
    assert "ae (1 of 3 scans)" in warning.text


def test_changed_scans_warning_skips_models_of_latents(model, tmp_path):
    folder, card = model
    write_table(read_training_scans(folder, card).drop(columns="look"), tmp_path / "ldm/scans.tsv")
    store = make_store(tmp_path / "one", seeds={"sub-a": 99})
    assert changed_scans_warning({"ldm": card}, tmp_path, store.index) == []


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_thumbnail_ignores_rounding_but_not_shift_flip_or_scaling(dtype):
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in (22, 27, 23)), indexing="ij")
    radius = np.sqrt(sum((axis - off) ** 2 for axis, off in zip(axes, (0.1, 0, 0), strict=True)))
    brain = np.clip(1.2 - 1.2 * radius, 0, 1)[None]
    base = thumbnail(to_stored(brain, dtype))
    assert thumbnail_distance(base, thumbnail(to_stored(np.clip(brain + 1e-3, 0, 1), dtype))) < SAME
    for other in (np.roll(brain, 1, 1), brain[:, ::-1], 0.95 * brain):
        assert thumbnail_distance(base, thumbnail(to_stored(other, dtype))) > SAME


def test_published_model_with_other_spacing_names_rule_published(tmp_path):
    store = make_store(tmp_path / "now")
    card = {"published": True, "form": store.form | {"spacing": 2.0}}
    with pytest.raises(UserError, match=r"differ in spacing.*--forcerun published"):
        require_fit(store, card, tmp_path / "autoencoder")


def test_leakage_check_refuses_altered_or_missing_scans_list(model, tmp_path):
    folder, card = model
    store = make_store(tmp_path / "same")
    with (folder / "scans.tsv").open("a") as stream:
        stream.write("\n")
    with pytest.raises(UserError, match="leakage into the test split cannot"):
        refuse_leakage(store, card, folder)
    (folder / "scans.tsv").unlink()
    with pytest.raises(UserError, match="leakage into the test split cannot"):
        refuse_leakage(store, card, folder)


def test_training_hash_ignores_test_split(tmp_path):
    first, more = make_store(tmp_path / "1"), make_store(tmp_path / "2", SPLITS | {"sub-z": "test"})
    other = make_store(tmp_path / "3", SPLITS | {"sub-z": "train"})
    assert first.content_hash != more.content_hash
    assert first.training_hash == more.training_hash != other.training_hash
