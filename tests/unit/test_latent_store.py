"""Latent store: scale, encoding of new or changed scans only, refusal of mismatched inputs."""

import pickle

import numpy as np
import pytest
import torch

from helpers.registered_scans import SPLITS, Cohort, write_scan
from ldae.data.datasets import LatentsAndVolumes
from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.files import read_json
from ldae.inference import latents
from ldae.inference.latents import build_latent_store, encode_shard, training_std
from ldae.locks import acquire_lock
from ldae.models import loading
from ldae.models.storage import save_model
from ldae.models.training_scans import write_training_scans
from ldae.nets.autoencoder import build_autoencoder

AUTOENCODER = {
    "channels": [4, 4],
    "num_res_blocks": 1,
    "latent_channels": 2,
    "norm_num_groups": 2,
    "pretrained": None,
}


@pytest.fixture
def cohort(tmp_path):
    cohort = Cohort(tmp_path)
    cohort.build()
    return cohort


def train(root, seed=0):
    """An autoencoder of random weights, whose card lists the present volumes as training scans."""
    torch.manual_seed(seed)
    model = build_autoencoder(AUTOENCODER)
    training_scans = write_training_scans(VolumeStore(root / "volumes"), root / "ae")
    card = {"kind": "autoencoder", "architecture": AUTOENCODER, **training_scans}
    return model.eval(), save_model(root / "ae", model.state_dict(), card)


def encode(root, out="latents", source="mean", fingerprint=""):
    """Encode what is missing as one shard, build the latent store and open it."""
    folders = [root / name for name in ("volumes", "ae", out)]
    encode_shard(*folders, root / "share.json", (0, 1), "cpu", 1, fingerprint)
    build_latent_store(*folders, {"source": source, "variance": "all"}, fingerprint)
    return LatentStore(root / out)


def test_latent_shard_is_encoded_by_one_process_at_a_time(cohort, monkeypatch):
    train(cohort.root)
    shard_card, encode_rows = cohort.root / "share.json", latents.encode_rows

    def encode_while_locked(*arguments):
        with pytest.raises(UserError, match=r"share\.json is being written by process"):
            acquire_lock(shard_card.with_name(".share.json.lock"), shard_card.name, patience=0)
        encode_rows(*arguments)

    monkeypatch.setattr(latents, "encode_rows", encode_while_locked)
    encode(cohort.root)
    assert shard_card.is_file()


@pytest.fixture
def encoded(monkeypatch):
    """Number of volumes encoded by each build."""
    counts = []
    load = loading.load_autoencoder

    def counting(folder):
        model, card = load(folder)
        counts.append(0)
        encode = model.encode

        def count(x):
            counts[-1] += len(x)
            return encode(x)

        model.encode = count
        return model, card

    monkeypatch.setattr(loading, "load_autoencoder", counting)
    return counts


def arrays(folder):
    return [(folder / name).read_bytes() for name in ("mean.npy", "std.npy", "store.json")]


def test_latents_are_scaled_over_the_training_split(cohort):
    volumes = VolumeStore(cohort.root / "volumes")
    model, card = train(cohort.root)
    store = encode(cohort.root)
    with torch.inference_mode():
        mean, std = model.encode(volumes.volumes(np.arange(len(volumes))))
    rows = volumes.rows("train")
    assert store.scale == pytest.approx(1 / mean[rows].std(correction=0).item(), rel=1e-4)
    assert torch.allclose(store.latents(np.arange(6)), store.scale * mean, atol=1e-5)
    assert torch.allclose(store.std(5), store.scale * std[5], atol=1e-5)
    assert store.shape == (2, 4, 4, 4)
    assert store.card["autoencoder"] == card["sha256"]
    columns = ["row", "scan_id", "participant_id", "split", "age"]
    assert store.index[columns].equals(volumes.index[columns])
    store.verify()
    path = store.folder / "std.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="differ from their checksums"):
        LatentStore(store.folder).verify()


def test_latent_scale_of_source_sample_includes_the_posterior_variance():
    rng = np.random.default_rng(0)
    moments = [rng.normal(1, 2, (50, 3, 4, 4, 4)), np.full((50, 3, 4, 4, 4), 1.5)]
    assert training_std(moments, np.arange(50), "mean") == pytest.approx(2, rel=0.02)
    assert training_std(moments, np.arange(50), "sample") == pytest.approx(2.5, rel=0.02)


def test_latent_scale_between_scans_excludes_the_mean_latent():
    rng = np.random.default_rng(0)
    moments = [rng.normal(1, 2, (50, 3, 4, 4, 4)), np.full((50, 3, 4, 4, 4), 1.5)]
    moments[0] += 10 * rng.normal(size=(3, 4, 4, 4))
    rows = np.arange(50)
    assert training_std(moments, rows, "mean") > 8
    assert training_std(moments, rows, "mean", "between_scans") == pytest.approx(2, rel=0.02)
    assert training_std(moments, rows, "sample", "between_scans") == pytest.approx(2.5, rel=0.02)


def test_latent_encoding_resumes_after_a_kill_with_the_same_bytes(cohort, encoded, monkeypatch):
    train(cohort.root)
    encode(cohort.root, "uninterrupted")
    write, done = np.save, []

    def killed(stream, array):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(write(stream, array))

    monkeypatch.setattr(latents.np, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        encode(cohort.root)
    monkeypatch.setattr(latents.np, "save", write)
    folders = [cohort.root / name for name in ("volumes", "ae", "latents")]
    with pytest.raises(UserError, match=r"sub-.* is missing .*--forcerun latent_shard"):
        build_latent_store(*folders, {"source": "mean", "variance": "all"})
    with pytest.raises(UserError, match="no finished store"):
        LatentStore(cohort.root / "latents")
    encode(cohort.root)
    assert encoded == [6, 5, 2]  # the fifth was not saved
    assert arrays(cohort.root / "latents") == arrays(cohort.root / "uninterrupted")


def test_latent_shards_encode_every_volume_once_with_the_same_bytes(cohort, encoded):
    train(cohort.root)
    encode(cohort.root, "uninterrupted")
    folders = [cohort.root / name for name in ("volumes", "ae", "latents")]
    for number in (1, 0):
        card = cohort.root / f"latents/shards/shard-{number}.json"
        encode_shard(*folders, card, (number, 2), "cpu", 1)
        assert read_json(card) == {"share": number, "of": 2, "volumes": 3}
    build_latent_store(*folders, {"source": "mean", "variance": "all"})
    assert encoded == [6, 3, 3]
    assert arrays(cohort.root / "latents") == arrays(cohort.root / "uninterrupted")


def test_latent_encoding_repeats_only_for_new_scans_or_autoencoders(cohort, encoded):
    train(cohort.root)
    mean = encode(cohort.root)
    sample = encode(cohort.root, source="sample")
    assert encoded == [6, 0]
    assert sample.scale < mean.scale
    assert sample.content_hash != mean.content_hash
    cohort.set_status("sub-C_ses-M012", "ok")
    cohort.build()
    more = encode(cohort.root)
    assert len(more) == 7
    assert encoded == [6, 0, 1]
    again = encode(cohort.root, "new")
    assert arrays(more.folder) == arrays(again.folder)
    damaged = next((more.folder / "rows").glob("*/*.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert arrays(encode(cohort.root).folder) == arrays(again.folder)
    train(cohort.root, seed=1)
    other = encode(cohort.root)
    encode(cohort.root, fingerprint="edited")
    assert encoded == [6, 0, 1, 7, 1, 7, 7]
    assert other.content_hash != more.content_hash
    assert len(list((more.folder / "rows").iterdir())) == 1  # the old rows are deleted


def test_latent_store_of_another_autoencoder_or_volume_store_is_refused(cohort):
    _, card = train(cohort.root)
    encode(cohort.root)
    with pytest.raises(UserError, match="another autoencoder"):
        LatentStore(cohort.root / "latents", "0" * 64)
    write_scan(cohort.image("sub-A_ses-M000"), seed=99)
    other = cohort.build()
    with pytest.raises(UserError, match="another volume store"):
        LatentStore(cohort.root / "latents", card["sha256"], other)
    assert LatentStore(cohort.root / "latents", scale=2.0).scale == 2.0


def test_stage_3_reads_memory_maps_and_no_image(cohort, monkeypatch):
    train(cohort.root)
    latent_store = pickle.loads(pickle.dumps(encode(cohort.root)))  # as a loader process has it
    for path in cohort.root.glob("preproc/**/*.nii.gz"):
        path.unlink()
    volumes = VolumeStore(cohort.root / "volumes")
    monkeypatch.setattr(np, "fromfile", None)
    data = LatentsAndVolumes(latent_store, volumes, volumes.rows("train"))
    assert data[3]["volume"].equal(volumes.volume(3))
    assert data[3]["latent"].equal(latent_store.latent(3))
    assert isinstance(latent_store._mean, np.memmap)
    assert all(isinstance(array, np.memmap) for array in volumes._maps.values())
    assert {volumes.index["split"][row] for row in data.latents.rows} == {"train"}
    assert set(SPLITS.values()) == set(volumes.index["split"])
