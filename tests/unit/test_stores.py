"""Volume store: values, order, content hash, and refusal of inconsistent files."""

import json
import pickle
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from helpers.registered_scans import CFG, SPLITS, Cohort, write_scan
from ldae.cli.main import main
from ldae.data.volume_index import build_volume_store
from ldae.data.volume_store import VolumeStore
from ldae.data.volume_transform import StoreTransform
from ldae.errors import UserError
from ldae.files import read_table, sha256, write_table
from ldae.fingerprint import closure
from ldae.orchestration.training_record import ENCODING
from ldae.source_graph import Ref


@pytest.fixture
def cohort(tmp_path):
    return Cohort(tmp_path)


def files(folder):
    """Contents of a folder by relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_volume_store_holds_included_scans_sorted_and_scaled(cohort):
    store = cohort.build()
    included = sorted(set(cohort.arrays) - {"sub-C_ses-M012"})  # rejected by QC
    assert store.index["scan_id"].tolist() == included
    assert store.index["split"].tolist() == [SPLITS[p] for p in store.index["participant_id"]]
    assert store.index["age"].tolist() == [70.5, 70.5, 71.5, 71.5, 72.5, 73.5]
    assert store.rows("train").tolist() == [0, 1, 2, 3]
    assert (store.spacing, store.shape) == (4.0, (8, 8, 8))
    assert np.allclose(store.affine[:3, 3], -14)
    for row, scan in enumerate(included):
        volume, array = store.volume(row), cohort.arrays[scan]
        expected = (array - array.min()) / np.ptp(array)  # already on the grid: not interpolated
        assert volume.dtype == torch.float32
        assert volume.shape == (1, 8, 8, 8)
        assert np.abs(volume[0].numpy() - expected).max() < 1e-3  # float16
        assert (volume.min(), volume.max()) == (0, 1)
    store.verify()


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_volume_store_values_equal_the_transform_bit_for_bit(cohort, dtype):
    store = cohort.build(dtype=dtype)
    transform = StoreTransform(CFG["spacing"], CFG["shape"], CFG["interpolation"])
    for row, scan in enumerate(store.index["scan_id"]):
        exact, affine = transform(cohort.image(scan))
        exact = torch.from_numpy(exact)
        kept = (exact * 255).round() / 255 if dtype == "uint8" else exact.to(getattr(torch, dtype))
        assert torch.equal(store.volume(row), kept.float())
        assert np.allclose(affine, store.affine)
    assert torch.equal(store.volumes(np.array([2, 0]))[1], store.volume(0))


def test_volume_store_reorients_pads_and_crops(cohort):
    path = cohort.image("sub-A_ses-M000")
    array = write_scan(path, shape=(6, 10, 8), orientation=(-1, 1, 1), seed=1)
    volume = cohort.build().volume(0)[0].numpy()
    assert (volume[0] == 0).all()  # padded by one voxel on either side of x
    expected = array[::-1, 1:-1] / array[:, 1:-1].max()  # LAS -> RAS, y cropped
    assert np.abs(volume[1:-1] - (expected - expected.min()) / np.ptp(expected)).max() < 0.02


@pytest.mark.parametrize("shape", [(8, 8, 8), (5, 11, 8), (12, 7, 9)])
def test_image_on_the_grid_is_cropped_and_padded_with_the_bits_of_monai(tmp_path, shape):
    from monai import transforms

    path = tmp_path / "scan.nii.gz"
    array = write_scan(path, shape) - 250
    array[array < -100] = -0.0  # a masked brain has zeros of both signs
    image = nib.load(path)
    nib.save(nib.Nifti1Image(array, image.affine), path)
    expected = transforms.Compose(
        [
            transforms.LoadImage(reader="NibabelReader", image_only=True),
            transforms.EnsureChannelFirst(),
            transforms.Orientation(axcodes="RAS", labels=None),
            transforms.Spacing(pixdim=(CFG["spacing"],) * 3, mode=3, padding_mode="constant"),
            transforms.ResizeWithPadOrCrop(spatial_size=CFG["shape"], mode="constant"),
        ]
    )(str(path))
    scaled = transforms.ScaleIntensity(0.0, 1.0)(expected.as_tensor().float().clamp_min(0))
    volume, affine = StoreTransform(CFG["spacing"], CFG["shape"], CFG["interpolation"])(path)
    assert volume.tobytes() == scaled.numpy().tobytes()
    assert volume.flags.c_contiguous
    assert np.array_equal(affine, expected.affine)


def test_volume_store_resamples_images_of_another_spacing(cohort):
    for scan in cohort.arrays:
        write_scan(cohort.image(scan), shape=(17, 17, 17), spacing=2.0)
    store = cohort.build()
    assert store.shape == (8, 8, 8)
    assert np.allclose(np.diag(store.affine)[:3], 4.0)


def test_volume_store_is_reproducible_byte_for_byte(cohort):
    cohort.build()
    cohort.build("again")
    assert files(cohort.root / "volumes") == files(cohort.root / "again")


def test_volume_store_can_be_copied_and_sent_to_a_loader_process(cohort):
    store = cohort.build()
    shutil.copytree(cohort.root / "volumes", cohort.root / "scratch/copy")
    shutil.rmtree(cohort.root / "volumes")
    shutil.rmtree(cohort.root / "preproc")  # no NIfTI is read
    copy = VolumeStore(cohort.root / "scratch/copy")
    sent = pickle.dumps(copy)
    assert len(sent) < 20_000  # not the volumes
    assert torch.equal(pickle.loads(sent).volume(3), store.volume(3))
    assert copy.content_hash == store.content_hash


def test_decisions_and_splits_change_content_hash_but_rewrite_no_shard(cohort):
    before = cohort.build()
    stamps = {path: path.stat().st_mtime_ns for path in (before.folder / "shards").glob("*.npy")}
    cohort.set_status("sub-C_ses-M012", "ok")  # the rater keeps it
    after = cohort.build()
    assert after.index["scan_id"].tolist() == sorted(cohort.arrays)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert after.content_hash != before.content_hash

    included = cohort.included_scans().assign(split="test")
    cards = sorted((after.folder / "shards").glob("shard-*.json"))
    build_volume_store(included, cards, after.folder)
    assert VolumeStore(after.folder).content_hash != after.content_hash
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_corrected_age_changes_store_index_but_not_store_card(cohort):
    before = cohort.build()
    card, index = ((before.folder / name).read_bytes() for name in ("store.json", "index.tsv"))
    cohort.scans["age"] += 1
    after = cohort.build()
    assert (after.folder / "store.json").read_bytes() == card  # models stay valid
    assert (after.folder / "index.tsv").read_bytes() != index
    assert after.index["age"][0] == 71.5


def test_content_hash_does_not_depend_on_the_number_of_shards(cohort, monkeypatch):
    before = cohort.build()
    monkeypatch.setattr("helpers.registered_scans.SHARDS", dict.fromkeys(SPLITS, 0))
    card = cohort.pack(0)
    build_volume_store(cohort.included_scans(), [card], before.folder)
    after = VolumeStore(before.folder)
    assert after.content_hash == before.content_hash
    assert torch.equal(after.volumes(np.arange(6)), before.volumes(np.arange(6)))
    assert sorted(path.name for path in (after.folder / "shards").iterdir()) == [
        ".shard-0.json",
        ".shard-0.json.lock",
        "shard-0.json",
        "shard-0.npy",
    ]


def test_volume_store_refuses_shards_that_do_not_fit_the_cohort(cohort):
    folder = cohort.root / "volumes"
    cards = [cohort.pack(0), cohort.pack(1)]
    with pytest.raises(UserError, match=r"3 included scans are in no shard.*another cohort"):
        build_volume_store(cohort.included_scans(), cards[:1], folder)
    copy = cards[0].with_name("shard-2.json")
    shutil.copy(cards[0], copy)
    with pytest.raises(UserError, match="in two shards"):
        build_volume_store(cohort.included_scans(), [*cards, copy], folder)
    leaking = cohort.included_scans()
    leaking.loc[leaking["scan_id"] == "sub-A_ses-M012", "split"] = "test"
    with pytest.raises(UserError, match=r"two splits.*sub-A"):
        build_volume_store(leaking, cards, folder)
    cohort.pack(1, spacing=5.0)
    with pytest.raises(UserError, match="different settings"):
        build_volume_store(cohort.included_scans(), cards, folder)
    cohort.pack(1)
    np.save(folder / "shards/shard-1.npy", np.zeros((1, 1, 8, 8, 8), np.float16))
    with pytest.raises(UserError, match=r"shard-1\.npy holds"):
        build_volume_store(cohort.included_scans(), cards, folder)
    with pytest.raises(UserError, match="no finished store"):
        VolumeStore(folder)


def test_volume_store_refuses_files_that_disagree(cohort):
    folder = cohort.build().folder
    intact = files(folder)

    def restore():
        for name, content in intact.items():
            (folder / name).write_bytes(content)

    def update_checksum():
        (folder / "index.sha256").write_text(f"{sha256(folder / 'index.tsv')}  index.tsv\n")

    (folder / "index.tsv").write_bytes(intact["index.tsv"].replace(b"70.5", b"71"))
    with pytest.raises(UserError, match="not the index"):
        VolumeStore(folder)

    # A scan moved to the test split, with an updated checksum: the leakage is still detected.
    (folder / "index.tsv").write_bytes(intact["index.tsv"].replace(b"train", b"test", 1))
    update_checksum()
    with pytest.raises(UserError, match="two splits"):
        VolumeStore(folder)

    # A scan removed from the index: the card is of another cohort.
    restore()
    table = read_table(folder / "index.tsv")
    write_table(table.iloc[:-1], folder / "index.tsv")
    update_checksum()
    with pytest.raises(UserError, match="not of one store"):
        VolumeStore(folder)
    restore()
    card = json.loads(intact["store.json"]) | {"spacing": 2.0}
    (folder / "store.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="not of one store"):
        VolumeStore(folder)
    (folder / "index.sha256").unlink()
    with pytest.raises(UserError, match="earlier version"):
        VolumeStore(folder)
    restore()
    VolumeStore(folder)


def test_volume_store_refuses_a_damaged_array(cohort):
    store = cohort.build()
    path = store.folder / "shards/shard-1.npy"
    intact = path.read_bytes()
    for content in (intact[:-1], b"nonsense", b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"shard-1\.npy cannot be read or is cut short"):
            VolumeStore(store.folder)
    np.save(path, np.zeros((3, 1, 8, 8, 8), np.float32))
    with pytest.raises(UserError, match="holds float32"):
        VolumeStore(store.folder)
    path.write_bytes(intact[:-7] + b"x" + intact[-6:])  # only a full check detects this edit
    with pytest.raises(UserError, match=r"1 of 6 arrays .*sub-D_ses-M000.*Remake"):
        VolumeStore(store.folder).verify()


def test_stores_can_be_checked_from_the_command_line(cohort, capsys):
    folder = cohort.build().folder
    assert main(["verify", str(folder)]) == 0
    assert "6 volumes are intact" in capsys.readouterr().out
    path = folder / "shards/shard-0.npy"
    path.write_bytes(path.read_bytes()[:-2] + b"xx")  # of the scan that is not included
    assert main(["verify", str(folder)]) == 0
    path.write_bytes(path.read_bytes()[:500] + b"xx" + path.read_bytes()[502:])
    assert main(["verify", str(folder), "nowhere"]) == 1
    assert "sub-A_ses-M000" in capsys.readouterr().err
    assert main(["verify", str(cohort.root)]) == 1
    assert "no finished store" in capsys.readouterr().err


def test_packing_and_training_fingerprints_exclude_each_others_code():
    def modules(*entries):
        return {ref.module for ref in closure(*entries).definitions}

    assert not modules("training.stages", "inference.latents") & {
        *("data.volume_packing", "data.volume_index")
    }
    training = closure("training.stages", "inference.latents").definitions
    assert Ref("data.volume_transform", "StoreTransform") not in training
    packing = closure("data.volume_packing:pack_shard").definitions
    assert not {ref.module for ref in packing} & {"cohort.splits", "data.volume_store"}
    assert Ref("data.store", "Store") not in packing
    assert "nets.unet" not in modules(*ENCODING)
