"""Volume and latent stores, sampling, embeddings."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from ldae.data.embeddings import load_embeddings, save_embeddings
from ldae.data.latent_store import LatentStore, build_latent_store, training_std
from ldae.data.sampling import Sampler, derive_seed
from ldae.data.volume_store import VolumeStore, build_volume_store
from ldae.errors import UserError
from ldae.files import sha256
from ldae.modelfile import save_model
from ldae.nets.autoencoder import build_autoencoder

TEMPLATE = "MNI"
CFG = {
    "spacing": 4.0,
    "shape": [8, 8, 8],
    "interpolation": "bspline",
    "antialias": False,
    "dtype": "float16",
}
AUTOENCODER = {
    "channels": [4, 4],
    "num_res_blocks": 1,
    "latent_channels": 2,
    "norm_num_groups": 2,
    "pretrained": None,
}
SPLITS = {"sub-A": "train", "sub-B": "train", "sub-C": "val", "sub-D": "test"}


def write_scan(path, shape=(8, 8, 8), spacing=4.0, orientation=(1, 1, 1), seed=0):
    """A registered image centred on the origin; returns its array."""
    array = np.random.default_rng(seed).uniform(0, 500, shape).astype(np.float32)
    affine = np.diag([*(spacing * np.array(orientation)), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return array


@pytest.fixture
def source(tmp_path):
    """Two visits of four subjects; the second visit of D failed and has no image."""
    rows, arrays = [], {}
    for number, participant in enumerate(SPLITS):
        for session in ("ses-M000", "ses-M012"):
            scan = f"{participant}_{session}"
            rows.append((scan, participant, session, 70.5 + number))
            folder = tmp_path / "preproc" / participant / session / "anat"
            if scan != "sub-D_ses-M012":
                arrays[scan] = write_scan(
                    folder / f"{scan}_space-{TEMPLATE}_desc-brain_T1w.nii.gz", seed=len(rows)
                )
    scans = pd.DataFrame(rows, columns=["scan_id", "participant_id", "session_id", "age"])
    scans.to_csv(tmp_path / "scans.tsv", sep="\t", index=False)
    pd.DataFrame(SPLITS.items(), columns=["participant_id", "split"]).to_csv(
        tmp_path / "splits.tsv", sep="\t", index=False
    )
    manifest = scans[["scan_id"]].assign(status="ok", reason="n/a", seconds=1)
    manifest.loc[manifest["scan_id"] == "sub-D_ses-M012", "status"] = "failed"
    manifest.to_csv(tmp_path / "shard-0.tsv", sep="\t", index=False)
    return tmp_path, arrays


def build(root, jobs=1, out="volumes", excluded=frozenset(), **changes):
    """Build the store of ``source``."""
    build_volume_store(
        root / "scans.tsv",
        root / "splits.tsv",
        [root / "shard-0.tsv"],
        root / "preproc",
        root / out,
        CFG | changes,
        TEMPLATE,
        excluded=excluded,
        jobs=jobs,
    )
    return VolumeStore(root / out)


def test_volume_store_holds_usable_scans_in_order_and_range(source):
    root, arrays = source
    store = build(root)
    assert store.index["scan_id"].tolist() == sorted(arrays)  # the failed scan is left out
    assert store.index["split"].tolist() == [SPLITS[p] for p in store.index["participant_id"]]
    assert store.index["age"].tolist() == [70.5, 70.5, 71.5, 71.5, 72.5, 72.5, 73.5]
    assert store.rows("train").tolist() == [0, 1, 2, 3]
    assert store.spacing == 4.0
    assert store.shape == (8, 8, 8)
    assert np.allclose(store.affine[:3, 3], -14)
    for row, scan in enumerate(sorted(arrays)):
        volume, array = store.volume(row), arrays[scan]
        expected = (array - array.min()) / np.ptp(array)  # on the grid already: not interpolated
        assert volume.dtype == torch.float32
        assert volume.shape == (1, 8, 8, 8)
        assert np.abs(volume[0].numpy() - expected).max() < 1e-3  # float16
        assert (volume.min(), volume.max()) == (0, 1)


def test_workers_do_not_change_the_store(source):
    root, _ = source
    build(root)
    build(root, jobs=2, out="parallel")
    assert sha256(root / "volumes/volumes.npy") == sha256(root / "parallel/volumes.npy")


def test_excluded_scans_are_left_out(source):
    root, arrays = source
    store = build(root, excluded={"sub-B_ses-M000", "sub-D_ses-M012"})
    assert store.index["scan_id"].tolist() == sorted(set(arrays) - {"sub-B_ses-M000"})


def test_orientation_spacing_and_padding(source):
    root, arrays = source
    first = sorted(arrays)[0]
    path = next((root / "preproc").rglob(f"{first}_*"))
    array = write_scan(path, shape=(6, 10, 8), orientation=(-1, 1, 1), seed=1)
    store = build(root)
    volume = store.volume(0)[0].numpy()
    assert (volume[0] == 0).all()  # padded by one voxel on either side of x
    expected = array[::-1, 1:-1] / array[:, 1:-1].max()  # LAS -> RAS, y cropped
    assert np.abs(volume[1:-1] - (expected - expected.min()) / np.ptp(expected)).max() < 0.02


def test_coarser_images_are_resampled(source):
    root, arrays = source
    for scan in arrays:
        write_scan(next((root / "preproc").rglob(f"{scan}_*")), shape=(17, 17, 17), spacing=2.0)
    store = build(root)
    assert store.shape == (8, 8, 8)
    assert np.allclose(np.diag(store.affine)[:3], 4.0)


def test_inputs_that_do_not_fit_are_refused(source):
    root, arrays = source
    manifest = pd.read_csv(root / "shard-0.tsv", sep="\t")
    manifest.iloc[1:].to_csv(root / "shard-0.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match=r"sub-A_ses-M000.*preprocess"):
        build(root)
    manifest.to_csv(root / "shard-0.tsv", sep="\t", index=False)

    splits = pd.read_csv(root / "splits.tsv", sep="\t")
    leak = pd.concat([splits, pd.DataFrame({"participant_id": ["sub-A"], "split": ["test"]})])
    leak.to_csv(root / "splits.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match=r"two sides.*sub-A"):
        build(root)
    splits.to_csv(root / "splits.tsv", sep="\t", index=False)

    path = next((root / "preproc").rglob(f"{sorted(arrays)[2]}_*"))
    write_scan(path, shape=(10, 8, 8))
    shifted = nib.load(path)
    nib.save(nib.Nifti1Image(shifted.get_fdata(), shifted.affine + np.eye(4, k=3)), path)
    with pytest.raises(UserError, match="another grid"):
        build(root)
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), 3.0), shifted.affine), path)
    with pytest.raises(UserError, match="no contrast"):
        build(root)
    assert not (root / "volumes/store.json").exists()
    with pytest.raises(UserError, match="no finished store"):
        VolumeStore(root / "volumes")


def test_a_store_whose_files_disagree_is_refused(source):
    root, _ = source
    build(root)
    folder = root / "volumes"
    index, card = (folder / "index.tsv").read_text(), (folder / "store.json").read_text()

    (folder / "index.tsv").write_text(index.replace("train", "test"))
    with pytest.raises(UserError, match="not the index"):
        VolumeStore(folder)

    # Someone edits the split and mends the sum: the leak is still seen.
    (folder / "index.tsv").write_text(index.replace("train", "test", 1))
    edited = json.loads(card) | {"index_sha256": sha256(folder / "index.tsv")}
    (folder / "store.json").write_text(json.dumps(edited))
    with pytest.raises(UserError, match="two sides"):
        VolumeStore(folder)

    (folder / "index.tsv").write_text(index)
    (folder / "store.json").write_text(card)
    np.save(folder / "volumes.npy", np.zeros((7, 1, 8, 8, 4), np.float16))
    with pytest.raises(UserError, match=r"store\.json"):
        VolumeStore(folder)
    (folder / "volumes.npy").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cannot be read"):
        VolumeStore(folder)


def encoded(root, out="latents", source="mean", seed=0):
    """An autoencoder with random weights, and the latent store it makes."""
    volumes = build(root)
    torch.manual_seed(seed)
    model = build_autoencoder(AUTOENCODER)
    card = {"kind": "autoencoder", "architecture": AUTOENCODER, "data": volumes.sum}
    card = save_model(root / "ae", model.state_dict(), card)
    build_latent_store(
        root / "volumes", root / "ae", root / out, {"source": source}, "cpu", 1, batch_size=3
    )
    return volumes, model.eval(), card


def test_latent_store_is_scaled_over_the_training_split(source):
    root, _ = source
    volumes, model, card = encoded(root)
    store = LatentStore(root / "latents", card["sha256"], volumes)
    with torch.inference_mode():
        mean, std = model.encode(volumes.volumes(np.arange(len(volumes))))
    train = volumes.rows("train")
    assert store.scale == pytest.approx(1 / mean[train].std(correction=0).item(), rel=1e-4)
    assert torch.allclose(store.latents(np.arange(7)), store.scale * mean, atol=1e-5)
    assert torch.allclose(store.std(6), store.scale * std[6], atol=1e-5)
    assert store.shape == (2, 4, 4, 4)
    assert store.index.equals(volumes.index)


def test_scale_of_sampled_latents_counts_the_posterior():
    rng = np.random.default_rng(0)
    moments = [rng.normal(1, 2, (50, 3, 4, 4, 4)), np.full((50, 3, 4, 4, 4), 1.5)]
    assert training_std(moments, np.arange(50), "mean") == pytest.approx(2, rel=0.02)
    assert training_std(moments, np.arange(50), "sample") == pytest.approx(2.5, rel=0.02)


def test_latents_of_another_autoencoder_or_store_are_refused(source):
    root, _ = source
    _, _, card = encoded(root)
    with pytest.raises(UserError, match="another autoencoder"):
        LatentStore(root / "latents", "0" * 64)
    path = next((root / "preproc").rglob("sub-A_ses-M000_*"))
    write_scan(path, seed=99)
    other = build(root)
    with pytest.raises(UserError, match="another volume store"):
        LatentStore(root / "latents", card["sha256"], other)
    with pytest.raises(UserError, match="trained on another volume store"):
        build_latent_store(
            root / "volumes", root / "ae", root / "latents", {"source": "mean"}, "cpu", 1
        )


def test_sampler_covers_every_scan_once_an_epoch_and_is_deterministic():
    sampler = Sampler("ldm", n=10, batch_size=4, micro_batch=2, seed=3)
    steps = sampler.steps(epochs=6)
    assert steps == 15
    seen = np.concatenate([sampler.batch(step) for step in range(steps)])
    epochs = seen.reshape(6, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert [sampler.epochs_done(step) for step in (0, 2, 3, 5, 15)] == [0, 0, 1, 2, 6]
    again = Sampler("ldm", n=10, batch_size=4, micro_batch=4, seed=3)
    assert (again.batch(7) == seen[28:32]).all()
    assert list(sampler.micro_batches(7, 8)) == [seen[28:30].tolist(), seen[30:32].tolist()]
    other = Sampler("ldm", n=10, batch_size=4, micro_batch=2, seed=4)
    assert not (other.permutation(0) == sampler.permutation(0)).all()
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_sampler_refuses_batches_that_do_not_divide_or_fill():
    with pytest.raises(UserError, match=r"ldm\.batch_size.*ldm\.micro_batch"):
        Sampler("ldm", n=10, batch_size=5, micro_batch=2, seed=0)
    with pytest.raises(UserError, match=r"ldm\.batch_size is 16, but only 10"):
        Sampler("ldm", n=10, batch_size=16, micro_batch=2, seed=0)


def test_embeddings_come_back(tmp_path):
    codes = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    save_embeddings(tmp_path / "ldae.npz", ["a", "b", "c"], codes)
    scans, read = load_embeddings(tmp_path / "ldae.npz")
    assert scans == ["a", "b", "c"]
    assert (read == codes).all()
    with pytest.raises(UserError, match="do not exist"):
        load_embeddings(tmp_path / "other.npz")
    codes[1, 1] = np.nan
    save_embeddings(tmp_path / "ldae.npz", ["a", "b", "c"], codes)
    with pytest.raises(UserError, match="not finite"):
        load_embeddings(tmp_path / "ldae.npz")
