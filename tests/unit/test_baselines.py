"""Baselines of the paper: voxel-space DAE and supervised encoder."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.stores import write_store
from helpers.training import (
    DAE,
    SEED,
    STATELESS,
    STATELESS_ENCODER,
    SUPERVISED,
    objective,
    settings,
)
from ldae.compute import Compute
from ldae.data.embeddings import load_embeddings
from ldae.data.resize import Resizer
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.evaluation.cost import measure_cost
from ldae.evaluation.metrics.image import ImageMetrics
from ldae.evaluation.reconstruction import evaluate_reconstruction
from ldae.inference.dae_system import DaeSystem, dae_encoder
from ldae.inference.embeddings import embed
from ldae.inference.start_noise import StartNoise
from ldae.inference.supervised import predict_supervised
from ldae.models.loading import load_dae, load_supervised
from ldae.models.storage import load_card
from ldae.nets.conditional_unet import ConditionalUNet, build_conditional_unet
from ldae.nets.shapes import check_dae_shape
from ldae.nets.unet import unet_shape
from ldae.seeds import fixed_noise
from ldae.training.distributed.processes import Processes
from ldae.training.loop import fit
from ldae.training.objectives.supervised import UNSELECTED, AgeObjective, DiagnosisObjective
from ldae.training.settings import training_section
from ldae.training.stages import train

EVALUATION = {
    "ddim_steps": [2, 5],
    "solver": "ddim",
    "batch_size": 2,
    "noise_seed": 7,
    "start_noise": {"kind": "scan", "draws": 1},
    "max_scans": None,
    "lpips": None,
}


@pytest.fixture(scope="module")
def dae(chain, tmp_path_factory):
    """A DAE trained by its entry point: (system, folder of the model)."""
    root, folder = chain[0], tmp_path_factory.mktemp("dae")
    train(settings("dae", DAE, folder, root), Processes())
    return DaeSystem.load({"dae": folder / "model"}, {}, "cpu", 1), folder / "model"


# --- resolution -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [[5, 8, 11], [8, 8, 8], [9, 3, 8]])
def test_resizer_crop_keeps_voxels_in_position(shape):
    x = torch.rand(2, 1, 8, 8, 8)
    resizer = Resizer((8, 8, 8), shape, "crop")
    there = resizer.there(x)
    assert there.shape[2:] == tuple(shape)
    back = resizer.back(there)
    assert back.shape == x.shape
    kept = resizer.back(resizer.there(torch.ones_like(x))) == 1
    assert kept[0, 0].sum() == np.prod([min(side, 8) for side in shape])
    assert torch.equal(back[kept], x[kept])
    assert not back[~kept].any()


def test_resizer_resampling_keeps_field_of_view():
    x = torch.linspace(0, 1, 16).view(1, 1, 16, 1, 1).expand(1, 1, 16, 20, 16)
    resizer = Resizer((16, 20, 16), [8, 10, 8], "resample")
    assert torch.allclose(resizer.there(x)[0, 0, :, 0, 0], x[0, 0, :, 0, 0].view(8, 2).mean(1))
    assert torch.allclose(resizer.back(resizer.there(x))[..., 1:-1, :, :], x[..., 1:-1, :, :])
    with pytest.raises(UserError, match=r"dae\.resize is 'zoom'"):
        Resizer((8, 8, 8), [8, 8, 8], "zoom")


def test_dae_refuses_shape_that_cannot_be_halved():
    check_dae_shape(DAE)
    with pytest.raises(UserError, match=r"the y side of 17 voxels .* use 16 or 18"):
        check_dae_shape(DAE | {"shape": [12, 17, 12]})


# --- voxel-space DAE ----------------------------------------------------------------------------


def test_dae_parameter_count_of_the_paper():
    """Table 6: 130 M with an encoder of 53.6 M."""
    cfg = DAE | {"base_channels": 64, "channel_mult": [1, 2, 4, 4], "num_res_blocks": 2}
    cfg |= {"attention_factors": [8], "norm_num_groups": 32}
    with torch.device("meta"):
        net = build_conditional_unet(cfg, 768)
    assert sum(weight.numel() for weight in net.parameters()) == 79_316_481


def test_dae_unet_down_path_depends_on_y_sem():
    torch.manual_seed(0)
    net = ConditionalUNet(unet_shape(DAE | {"dropout": 0.0}, 1), 6).eval()
    x, t, y = torch.randn(1, 1, 8, 8, 8), torch.tensor([3]), torch.randn(2, 1, 6)
    assert not net(x, t, y[0]).any()  # starts at zero
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    assert not torch.allclose(net(x, t, y[0]), net(x, t, y[1]))
    features = [net.down(x, torch.zeros(1, 32), net.semantic(code)) for code in y]
    assert not torch.allclose(features[0][1], features[1][1])


def test_dae_loss_falls_on_two_volumes(chain, tmp_path):
    changes = {"epochs": 25, "validate_every": 25, "batch_size": 2, "learning_rate": 1e-2}
    made, cfg = objective(chain, "dae", **STATELESS["dae"], **changes)
    made.train_rows = made.train_rows[:2]
    history = pd.DataFrame(fit(made, settings("dae", cfg, tmp_path)).history)
    assert history["train_loss"][-10:].mean() < 0.5 * history["train_loss"][:3].mean()
    metrics = {k.removeprefix("val_"): v for k, v in history.iloc[-1].items()}
    parts = [metrics[f"loss_q{q}"] for q in (1, 2, 3, 4)]
    assert metrics["loss"] == pytest.approx(np.mean(parts))
    assert made.flags(metrics | {"y_spread": 0.0}) != []


def test_dae_is_restored_and_refuses_leakage_into_test_split(chain, dae, tmp_path):
    folder = dae[1]
    card = load_card(folder)
    assert (card["kind"], card["data"]) == ("dae", VolumeStore(chain[0] / "volumes").content_hash)
    assert card["architecture"]["shape"] == [12, 16, 12]
    encoder, _, _ = load_dae(folder)
    assert card["y_dim"] == encoder.dim
    volumes = np.zeros((2, 1, 16, 16, 16), np.float16)
    trained = VolumeStore(chain[0] / "volumes").index.loc[lambda index: index["split"] == "train"]
    index = pd.DataFrame(
        {"scan_id": ["a", "b"], "participant_id": [trained["participant_id"].iloc[0], "b"]}
    )
    write_store(tmp_path / "other", index.assign(split="test"), {"spacing": 1.5}, volumes=volumes)
    with pytest.raises(UserError, match="in the test split"):
        dae[0].volume_store(tmp_path / "other")
    with pytest.raises(UserError, match="supervised is needed"):
        load_supervised(folder)


def test_dae_ddim_round_trip_improves_with_steps(chain, dae):
    system, _ = dae
    x = VolumeStore(chain[0] / "volumes").volumes([8, 9])
    y = system.y_sem(x)
    errors = []
    for steps in (4, 40):
        x_T = system.encode_xT(x, y, steps)
        assert x_T.shape == (2, 1, 12, 16, 12)
        back = system.decode(x_T, y, steps)
        errors.append((back - system.resizer.there(x)).square().mean().item())
    assert errors[1] < errors[0]
    assert errors[1] < 1e-3


def test_dae_reconstruction_table(chain, dae, tmp_path):
    system, _ = dae
    evaluate_reconstruction(
        system, chain[0] / "volumes", tmp_path / "scans.tsv", EVALUATION, seed=0
    )
    table = pd.read_csv(tmp_path / "scans.tsv", sep="\t", na_values="n/a")
    assert table.columns.tolist() == [
        *("scan_id", "participant_id", "diagnosis", "system", "variant", "T"),
        *("ssim", "ssim_brain", "mse", "ssim_to_ae", "mse_to_ae", "ssim_window"),
    ]
    store = VolumeStore(chain[0] / "volumes")
    test = store.index.loc[store.rows("test"), "scan_id"].tolist()
    sizes = table.groupby(["system", "variant", "T"], dropna=False)["scan_id"].agg(sorted)
    assert all(scans == test for scans in sizes)
    variants = [
        (name, variant) for name in ("dae", "dae_own_grid") for variant in ("y_sem", "encoded")
    ]
    expected = {(*both, steps) for both in variants for steps in (2, 5)}
    assert {key for key in sizes.index if key[1] != "resized"} == expected
    x = store.volumes(store.rows("test"))
    y, small, metrics = system.y_sem(x), system.resizer.there(x), ImageMetrics(None)
    made = system.generate(fixed_noise(test, (1, *system.resizer.shape), 7), y, 5)
    encoded = system.decode(system.encode_xT(x, y, 2), y, 2)
    for name, variant, steps, one, other in (
        ("dae_own_grid", "y_sem", 5, small, made),
        ("dae", "y_sem", 5, x, system.resizer.back(made)),
        ("dae", "encoded", 2, x, system.resizer.back(encoded)),
        ("dae", "resized", None, x, system.resizer.back(small)),
    ):
        rows = table[(table["system"] == name) & (table["variant"] == variant)]
        rows = rows[rows["T"].isna() if steps is None else rows["T"] == steps]
        for metric, value in metrics(one, other).items():
            assert np.allclose(rows[metric], value, atol=1e-5), (name, variant, metric)
    again = fixed_noise(test, (1, *system.resizer.shape), 7, 1)
    two = StartNoise(7, draws=2)
    means = [one for one in system.reconstructions(x, {"y_sem": y}, test, [5], two)]
    (mean,) = [one.image for one in means if (one.system, one.variant) == ("dae_own_grid", "y_sem")]
    torch.testing.assert_close(mean, (made + system.generate(again, y, 5)) / 2)
    fewer = tmp_path / "fewer.tsv"
    evaluate_reconstruction(system, chain[0] / "volumes", fewer, EVALUATION, seed=0, max_scans=1)
    assert pd.read_csv(tmp_path / "fewer.tsv", sep="\t")["scan_id"].nunique() == 1


def test_dae_cost_tables_of_parameters_and_seconds(chain, dae, tmp_path):
    system, _ = dae
    files = tmp_path / "sizes.tsv", tmp_path / "seconds.tsv"
    measure_cost(system, chain[0] / "volumes", *files, EVALUATION | {"timing_scans": 2})
    sizes, seconds = (pd.read_csv(file, sep="\t").set_index("variant") for file in files)
    parameters = sum(p.numel() for net in (system.encoder, system.unet) for p in net.parameters())
    assert (sizes["parameters"] == parameters).all()
    voxels = int(np.prod(system.resizer.shape))
    assert sizes["latent_dim"].to_dict() == {
        "y_sem": system.encoder.dim, "encoded": system.encoder.dim + voxels,
    }  # fmt: skip
    assert (seconds["T"] == 5).all() and (seconds["system"] == "dae").all()
    assert (seconds["seconds"] > 0).all()


def test_timed_runs_of_the_dae_call_its_network_once_a_step(chain, dae):
    system, _ = dae
    store, calls = system.volume_store(chain[0] / "volumes"), []
    x = store.volumes(store.rows("test")[:1])
    hook = system.unet.register_forward_hook(lambda *_: calls.append(1))
    counted = {}
    for (_, variant), run in system.runs(x, "scan", 5, StartNoise(7)).items():
        calls.clear()
        run()
        counted[variant] = len(calls)
    hook.remove()
    assert counted == {"y_sem": 5, "encoded": 10}


def test_dae_embeddings_are_of_resized_volumes(chain, dae, tmp_path):
    folder, store = dae[1], VolumeStore(chain[0] / "volumes")
    embed(
        "dae",
        dae_encoder,
        folder,
        chain[0] / "volumes",
        tmp_path / "dae.npz",
        "cpu",
        1,
        batch_size=3,
    )
    provenance = {"model": load_card(folder)["sha256"], "volumes": store.content_hash}
    scans, codes = load_embeddings(tmp_path / "dae.npz", **provenance)
    assert scans == store.index["scan_id"].tolist()
    encoder, _, _ = load_dae(folder)
    resizer = Resizer(store.shape, [12, 16, 12], "resample")
    with torch.inference_mode():
        expected = encoder(resizer.there(store.volumes([4, 9])))
    assert np.allclose(codes[[4, 9]], expected, atol=1e-4)


# --- supervised encoder ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """36 scans of 18 subjects; AD has a bright side, and a bright part grows with age."""
    rng = np.random.default_rng(0)
    subject = np.arange(36) // 2
    index = pd.DataFrame({"scan_id": [f"scan{i:02d}" for i in range(36)]})
    index["participant_id"] = [f"sub-{number:02d}" for number in subject]
    index["split"] = np.where(subject < 10, "train", np.where(subject < 12, "val", "test"))
    index["diagnosis"] = np.array(["CN", "AD", "CN", "AD", "MCI"])[subject % 5]
    index["age"], index["sex"] = 60.0 + rng.permutation(36), "F"
    index.loc[35, "age"] = np.nan  # a test scan
    volumes = 0.1 * rng.random((36, 1, 16, 16, 16))
    volumes[index["diagnosis"] == "AD", :, :6] += 0.4
    for volume, age in zip(volumes, index["age"].fillna(70), strict=True):
        volume[:, 8:, : int((age - 60) / 2.2)] += 0.5
    folder = tmp_path_factory.mktemp("planted") / "volumes"
    write_store(folder, index, {}, volumes=volumes.clip(0, 1).astype(np.float16))
    return folder


def supervised(planted, target, **changes):
    store = VolumeStore(planted)
    cfg = SUPERVISED | {"encoder": SUPERVISED["encoder"] | STATELESS_ENCODER} | changes
    kind = {"diagnosis": DiagnosisObjective, "age": AgeObjective}[target]
    return kind(store, cfg, Compute.prepare("cpu", 1, "fp32"), SEED), cfg


@pytest.mark.parametrize("target", ["diagnosis", "age"])
def test_supervised_learns_planted_signal_and_predicts_test_scans(planted, target, tmp_path):
    changes = {"epochs": 8 if target == "diagnosis" else 20, "validate_every": 4}
    changes |= {"learning_rate": 1e-2, "micro_batch": 4}
    cfg = SUPERVISED | {"encoder": SUPERVISED["encoder"] | STATELESS_ENCODER} | changes
    stage = f"supervised_{target}"
    given = settings(stage, cfg, tmp_path, inputs={"volumes": str(planted)})
    train(given, Processes())
    card = load_card(tmp_path / "model")
    history = pd.read_csv(tmp_path / "model/history.tsv", sep="\t", na_values="n/a")
    assert card["metrics"]["val_loss"] == pytest.approx(history["val_loss"].min(), rel=1e-6)
    assert (card["kind"], card["target"], card["flags"]) == ("supervised", target, [])
    out = tmp_path / "predictions.tsv"
    predict_supervised(planted, tmp_path / "model", out, "cpu", 1, batch_size=3)
    table = pd.read_csv(out, sep="\t", na_values="n/a")
    index = VolumeStore(planted).index.set_index("scan_id")
    wanted = index[(index["split"] == "test") & index["age"].notna()]
    if target == "diagnosis":
        wanted = wanted[wanted["diagnosis"] != "MCI"]
    assert table["scan_id"].tolist() == wanted.index.tolist()
    assert (table["diagnosis"].to_numpy() == wanted["diagnosis"]).all()
    assert set(table["system"]) == {"supervised"}
    own = {"diagnosis": ["predicted", "probability"], "age": ["age", "predicted"]}[target]
    first = ["system", "scan_id", "participant_id", "diagnosis"]
    assert table.columns.tolist() == [*first, *own, "penalty"]
    if target == "diagnosis":
        assert (table["predicted"] == table["diagnosis"]).all()
        assert ((table["probability"] > 0.5) == (table["diagnosis"] == "AD")).all()
    else:
        errors = (table["predicted"] - table["age"]).abs()
        assert (table["age"].to_numpy() == wanted["age"]).all()
        assert errors.mean() < 0.5 * table["age"].std()


def test_supervised_trains_only_on_labelled_training_subjects(planted):
    index = VolumeStore(planted).index
    test = set(index.loc[index["split"] == "test", "participant_id"])
    for target, diagnoses in (("diagnosis", {"CN", "AD"}), ("age", {"CN", "AD", "MCI"})):
        made, _ = supervised(planted, target)
        rows = np.concatenate([made.train_rows, made.val_rows])
        assert not test & set(index.loc[rows, "participant_id"])
        assert set(index.loc[made.train_rows, "split"]) == {"train"}
        assert set(index.loc[made.val_rows, "split"]) == {"val"}
        assert set(index.loc[rows, "diagnosis"]) == diagnoses
    made.train_rows = made.train_rows[[0]]
    batch = made.dataset()[0]
    age = index.loc[made.train_rows[0], "age"]
    assert batch["truth"].item() * made.std + made.mean == pytest.approx(age)


def test_supervised_classes_weigh_the_same_unless_balanced(planted):
    plain, _ = supervised(planted, "diagnosis")
    losses, truth = torch.ones(3), torch.tensor([0, 1, 1])
    assert torch.equal(plain.weighted(losses, truth), losses)
    balanced, _ = supervised(planted, "diagnosis", class_weights="balanced")
    truth = balanced.truth(balanced.train_rows)
    counts = truth.bincount()
    weighted = balanced.weighted(torch.ones(len(truth)), truth)
    assert weighted.mean().item() == pytest.approx(1.0)
    assert (balanced.weights[0] / balanced.weights[1]).item() == pytest.approx(
        (counts[1] / counts[0]).item()
    )


def test_supervised_refuses_or_flags_classes_without_scans(planted, tmp_path):
    with pytest.raises(UserError, match="No training scan has the diagnosis SMC"):
        supervised(planted, "diagnosis", classes=["CN", "SMC"])
    # no validation subject is MCI: they are CN and AD, so no epoch is selected
    made, cfg = supervised(planted, "diagnosis", classes=["MCI", "MCI"], epochs=1)
    made.val_rows, made.selects = made.val_rows[:0], None
    trained = fit(made, settings("supervised_diagnosis", cfg, tmp_path))
    assert trained.flags == [UNSELECTED]
    assert trained.epoch == 1


def test_supervised_identity_depends_on_training_labels(planted):
    made, _ = supervised(planted, "age")
    before = made.identity()
    test = made.volumes.index.index[made.volumes.index["split"] == "test"][0]
    made.volumes.index.loc[test, "age"] += 1
    assert made.identity() == before
    made.volumes.index.loc[made.train_rows[0], "age"] += 1
    assert made.identity()["labels"] != before["labels"]


def test_training_section_gives_baselines_the_ldae_encoder():
    config = {
        "ldae": {"encoder": {"backbone": "b"}, "epochs": 1},
        "dae": {"epochs": 2},
        "supervised": {"epochs": 3},
        "evaluation": {"targets": {"diagnosis": {"classes": ["CN", "AD"]}}},
    }
    assert training_section(config, "ldae") == config["ldae"]
    assert training_section(config, "dae") == {"epochs": 2, "encoder": {"backbone": "b"}}
    for target in ("diagnosis", "age"):
        section = training_section(config, f"supervised_{target}")
        assert section == {"epochs": 3, "encoder": {"backbone": "b"}, "classes": ["CN", "AD"]}
