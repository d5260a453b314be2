"""Volume packing: only changed scans of a shard are packed again; the bytes do not depend on it."""

import errno

import nibabel as nib
import numpy as np
import pytest

from helpers.registered_scans import Cohort, write_scan
from ldae.data import store, volume_packing
from ldae.data.volume_index import build_volume_store
from ldae.data.volume_packing import write_manifest
from ldae.data.volume_transform import StoreTransform
from ldae.derivatives import read_manifest
from ldae.errors import UserError
from ldae.files import read_json
from ldae.locks import acquire_lock


@pytest.fixture
def cohort(tmp_path):
    return Cohort(tmp_path)


@pytest.fixture
def transformed(monkeypatch):
    """Scans that were packed, not copied from the earlier array, in order."""
    names = []

    class Counting(StoreTransform):
        def __call__(self, path):
            names.append(path.name.split("_space")[0])
            return super().__call__(path)

    monkeypatch.setattr(volume_packing, "StoreTransform", Counting)
    return names


def content(card):
    return card.read_bytes(), card.with_suffix(".npy").read_bytes()


def test_packing_skips_unchanged_shard(cohort, transformed):
    card = cohort.pack(0)
    assert transformed == [f"sub-{s}_ses-M{m}" for s in "AC" for m in ("000", "012")]
    before, stamp = content(card), card.with_suffix(".npy").stat()
    transformed.clear()
    card = cohort.pack(0)
    assert transformed == []
    assert content(card) == before
    assert card.with_suffix(".npy").stat().st_ino == stamp.st_ino  # nor written again


def test_packing_of_changed_scans_gives_bytes_of_a_new_store(cohort, transformed):
    cohort.pack(0)
    write_scan(cohort.image("sub-C_ses-M000"), seed=99)  # changed
    cohort.set_status("sub-A_ses-M000", "failed")  # removed: rows move up
    transformed.clear()
    changed = cohort.pack(0)
    assert transformed == ["sub-C_ses-M000"]
    assert content(changed) == content(cohort.pack(0, out="new"))
    cohort.set_status("sub-A_ses-M000", "ok")  # added
    transformed.clear()
    assert content(cohort.pack(0)) == content(cohort.pack(0, out="other"))
    assert transformed[:1] == ["sub-A_ses-M000"]
    assert len(transformed) == 1 + 4


def test_packing_repeats_all_scans_after_change_of_settings_or_code(cohort, transformed):
    cohort.pack(0)
    transformed.clear()
    cohort.pack(0, dtype="uint8")
    cohort.pack(0, dtype="uint8", source="edited")
    assert len(transformed) == 8


@pytest.mark.parametrize("damage", ["byte", "short", "nonsense", "stamp", "empty stamp", "gone"])
def test_packing_repairs_damaged_array_or_stamp(cohort, transformed, damage):
    card = cohort.pack(0)
    array, before = card.with_suffix(".npy"), content(card)
    intact = array.read_bytes()
    if damage == "byte":
        array.write_bytes(intact[:-9] + bytes([intact[-9] ^ 1]) + intact[-8:])
    elif damage == "stamp":
        card.with_name(".shard-0.json").unlink()
    elif damage == "empty stamp":
        card.with_name(".shard-0.json").write_text("")
    elif damage == "gone":
        array.unlink()
    else:
        array.write_bytes(intact[:-1] if damage == "short" else b"nonsense")
    transformed.clear()
    assert content(cohort.pack(0)) == before
    assert len(transformed) == (1 if damage == "byte" else 4)


def test_packing_locks_the_shard(cohort, monkeypatch):
    pack = volume_packing._pack

    def pack_and_try_lock(*arguments):
        with pytest.raises(UserError, match=r"shard-0\.json is being written by process"):
            acquire_lock(
                cohort.root / "volumes/shards/.shard-0.json.lock", "shard-0.json", patience=0
            )
        return pack(*arguments)

    monkeypatch.setattr(volume_packing, "_pack", pack_and_try_lock)
    assert len(read_json(cohort.pack(0))["scans"]) == 4


def test_packing_of_shard_without_scans_is_empty(cohort):
    cohort.manifest["status"] = "failed"
    for _ in range(2):
        assert read_json(cohort.pack(0))["scans"] == []
    for scans in (cohort.scans, cohort.scans[:0]):
        write_manifest(scans, read_json(cohort.pack(0)), cohort.root / "m.tsv")
        assert read_manifest(cohort.root / "m.tsv")["status"].tolist() == ["skipped"] * len(scans)
    with pytest.raises(UserError, match="No scan is left"):
        build_volume_store(cohort.included_scans(), [cohort.pack(0)], cohort.root / "volumes")


def test_volume_store_accepts_an_empty_shard(cohort):
    cohort.manifest.loc[cohort.manifest["scan_id"].str.contains("sub-A|sub-C"), "status"] = "failed"
    assert cohort.build().index["scan_id"].tolist() == [
        "sub-B_ses-M000",
        "sub-B_ses-M012",
        "sub-D_ses-M000",
    ]


def test_packing_fails_invalid_image_with_reason_and_retries_it(cohort, transformed):
    flat, cut = cohort.image("sub-C_ses-M012"), cohort.image("sub-A_ses-M000")
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), 3.0), nib.load(flat).affine), flat)
    cut.write_bytes(cut.read_bytes()[:300])
    cohort.set_status("sub-A_ses-M012", "failed")
    scans = cohort.scans[cohort.scans["participant_id"].isin(["sub-A", "sub-C"])]
    manifest = cohort.root / "manifest.tsv"
    write_manifest(scans, read_json(cohort.pack(0)), manifest)
    table = read_manifest(manifest)
    assert table["scan_id"].tolist() == scans["scan_id"].tolist()
    assert table["status"].tolist() == ["failed", "skipped", "ok", "failed"]
    assert "The image cannot be read (cut off or damaged)" in table["reason"][0]
    assert "no contrast" in table["reason"][3] and table["reason"][2] == ""
    transformed.clear()
    cohort.pack(0)
    assert transformed == ["sub-A_ses-M000", "sub-C_ses-M012"]  # only these are tried again
    with pytest.raises(UserError, match=r"1 included scans could not be packed.*sub-A_ses-M000"):
        cohort.build()
    cohort.set_status("sub-A_ses-M000", "failed")
    assert cohort.build().index["scan_id"].tolist()[:2] == ["sub-B_ses-M000", "sub-B_ses-M012"]


def test_packing_on_full_disk_fails_and_keeps_earlier_array(cohort, monkeypatch):
    card = cohort.pack(0)
    array, before = card.with_suffix(".npy"), content(card)
    assert array.stat().st_blocks * 512 >= array.stat().st_size
    write_scan(cohort.image("sub-C_ses-M000"), seed=99)

    def full(stream, start, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        cohort.pack(0)
    assert array.read_bytes() == before[1]
    assert not list(array.parent.glob(".tmp*"))


@pytest.mark.parametrize("code", store.UNSUPPORTED)
def test_packing_works_where_file_system_cannot_reserve_space(cohort, monkeypatch, code):
    def refuse(stream, start, size):
        raise OSError(code, "no")

    monkeypatch.setattr(store.os, "posix_fallocate", refuse)
    assert len(read_json(cohort.pack(0))["scans"]) == 4


def test_create_array_reserves_disk_space_before_filling(tmp_path):
    made = store.create_array(tmp_path / "a.npy", "float32", [64, 64, 64])
    state = (tmp_path / "a.npy").stat()
    assert state.st_size > made.nbytes and state.st_blocks * 512 >= state.st_size
    made[0] = 1
    made.flush()
    assert np.load(tmp_path / "a.npy")[:2, 0, 0].tolist() == [1, 0]


def test_packing_refuses_scans_on_different_grids(cohort):
    cohort.pack(0)
    path = cohort.image("sub-C_ses-M000")
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata(), image.affine + np.eye(4, k=3)), path)
    with pytest.raises(UserError, match=r"sub-C_ses-M000.*another grid"):
        cohort.pack(0)
    for scan in ("sub-A_ses-M000", "sub-A_ses-M012", "sub-C_ses-M012"):
        image = nib.load(cohort.image(scan))
        moved = nib.Nifti1Image(image.get_fdata(), image.affine + np.eye(4, k=3))
        nib.save(moved, cohort.image(scan))
    with pytest.raises(UserError, match="different grids"):
        cohort.build()


def test_packing_refuses_scan_without_status_or_image(cohort):
    cohort.image("sub-A_ses-M012").unlink()
    with pytest.raises(UserError, match=r"1 registered images are missing.*sub-A_ses-M012"):
        cohort.pack(0)
    cohort.manifest = cohort.manifest.iloc[1:]
    with pytest.raises(UserError, match=r"sub-A_ses-M000.*preprocess"):
        cohort.pack(0)
