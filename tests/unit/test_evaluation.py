"""Evaluation on tiny random models: reconstruction, guidance, ground truth and leakage checks."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.models import (
    AUTOENCODER,
    CFG,
    DIM,
    make_index,
    make_volumes,
    write_store,
)
from ldae.data.embeddings import save_embeddings
from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.solvers import SOLVERS
from ldae.errors import UserError
from ldae.evaluation import guidance, reconstruction
from ldae.evaluation.examples import reconstruction_examples
from ldae.evaluation.probes.features import load_probe_data
from ldae.files import read_table, write_table
from ldae.ground_truth import probes
from ldae.inference.ldae_slices_system import LdaeSlicesSystem
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.start_noise import StartNoise
from ldae.models.storage import save_model
from ldae.nets.autoencoder import build_autoencoder


def test_reconstruction_tables(system, project):
    out = project / "reconstruction"
    paths = [out / name for name in ("scans.tsv", "table.tsv", "controls.tsv")]

    def evaluate(cfg):
        made = reconstruction.evaluate_reconstruction(
            system, project / "volumes", paths[0], cfg, 0, project / "ldae.npz"
        )
        reconstruction.write_reconstruction_tables(made, *paths[1:], cfg["bootstrap"], 0)

    evaluate(CFG)
    first = [path.read_bytes() for path in paths]
    evaluate(CFG | {"batch_size": 18})
    scans, table, controls = (read_table(path) for path in paths)
    assert len(scans) == 18 * (1 + 2 * 3 + 2)
    autoencoder = scans[scans["system"] == "autoencoder"]
    np.testing.assert_allclose(autoencoder["ssim_to_ae"], 1, atol=1e-5)
    assert (autoencoder["mse_to_ae"] == 0).all()
    row = table[(table["system"] == "autoencoder") & (table["metric"] == "mse")].iloc[0]
    assert row["value"] == pytest.approx(autoencoder["mse"].mean(), rel=1e-4)
    assert (row["n_scans"], row["n_subjects"], row["paper"]) == (18, 6, 0.001)
    mine = scans[(scans["system"] == "ldae") & (scans["T"] == 4)].pivot(
        index="scan_id", columns="variant", values="mse"
    )
    gap = controls[
        (controls["comparison"] == "y_sem - wrong_y_sem") & (controls["metric"] == "mse")
    ].iloc[0]
    expected = (mine["y_sem"] - mine["wrong_y_sem"]).mean()
    assert gap["difference"] == pytest.approx(expected, rel=1e-2)
    assert gap["n_better"] == (mine["y_sem"] < mine["wrong_y_sem"]).sum()
    assert (mine["y_sem"] - mine["wrong_y_sem"]).abs().max() > 1e-6  # G depends on y_sem
    before = pd.read_csv(BytesIO(first[0]), sep="\t")
    np.testing.assert_allclose(before["mse"], scans["mse"], rtol=1e-3)  # at any batch size


def test_second_ldae_gives_its_own_reconstructions_alone(system, project, tmp_path):
    folders = {name: project / name for name in ("autoencoder", "ldm")}
    second = LdaeSlicesSystem.load(folders | {"ldae_slices": project / "ldae"}, CFG, "cpu", 1)
    tables = []
    for one in (system, second):
        table = reconstruction.evaluate_reconstruction(
            one, project / "volumes", tmp_path / "scans.tsv", CFG, 0, max_scans=4
        )
        tables.append(table[table["system"] == one.name].drop(columns="system"))
        sizes = one.sizes((32, 32, 32))
        assert set(table["system"]) == {name for name, _ in sizes}
        assert set(one.runs(torch.zeros(1, 1, 32, 32, 32), "scan", 2, StartNoise(0))) == set(sizes)
    assert second.name == "ldae_slices" and {name for name, _ in sizes} == {"ldae_slices"}
    tables = [table.reset_index(drop=True) for table in tables]
    pd.testing.assert_frame_equal(*tables, check_dtype=False)


def test_latent_scale_of_the_card_applies_to_encoding_and_decoding(system, project):
    x = system.volume_store(project / "volumes").volumes(np.arange(2))
    raw = system.autoencoder.encode(x)[0]
    torch.testing.assert_close(system.encode_z(x), 2.0 * raw)
    torch.testing.assert_close(
        system.image(system.encode_z(x)), system.autoencoder.decode(raw).clamp(0, 1)
    )


def test_guided_estimate_subtracts_c_t_times_g(system):
    z = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    t, y = torch.tensor([9, 500]), torch.randn(2, DIM)
    frozen, (guided,) = system.estimates(z, t, y)
    eps, g = system.guided(z, t, y)
    torch.testing.assert_close(frozen, eps)
    c_t = system.schedule.guidance[t].float().view(2, 1, 1, 1, 1)
    torch.testing.assert_close(guided, eps - c_t * g)


def test_ddim_round_trip_returns_to_the_latent(system):
    z_0 = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.randn(2, DIM, generator=torch.Generator().manual_seed(1))
    for code in (None, y):
        back = system.decode(system.encode_zT(z_0, code, 50), code, 50)
        assert (back - z_0).pow(2).mean().sqrt() < 0.1


@pytest.mark.parametrize("name", SOLVERS)
def test_system_inverts_decodes_and_samples_by_every_solver(system, name):
    """The networks are hardly trained: the invertible solver alone must return exactly."""
    z_0 = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.randn(2, DIM, generator=torch.Generator().manual_seed(1))
    solved = system.with_solver(name)
    z_T = solved.encode_zT(z_0, y, 5)
    assert z_T.shape[1] == 3 * solved.solver.states
    error = (solved.decode(z_T, y, 5) - z_0).pow(2).mean().sqrt()
    assert error < (1e-3 if name == "midpoint" else 1)
    assert solved.decode(z_0, y, 5).shape == z_0.shape  # from noise
    encoded = solved.sizes((16, 16, 16))["ldae", "encoded"].latent_dim
    assert encoded == DIM + solved.solver.states * 3 * 8**3
    assert system.solver is SOLVERS["ddim"]


def test_examples_hold_encoded_and_sampled_volumes_of_a_two_state_solver(system, project):
    arrays = project / "examples/midpoint.npz"
    cfg = CFG | {"solver": "midpoint"}
    codes, subjects = project / "ldae.npz", {"CN": None, "AD": None}
    for samples in (2, 0):
        reconstruction_examples(system, project / "volumes", codes, arrays, cfg, subjects, samples)
        with np.load(arrays) as data:
            assert data["samples"].shape == (2, samples, *data["original"].shape[1:])
            # The round trip is exact, so the image is the autoencoder's.
            np.testing.assert_allclose(data["encoded"], data["reconstruction"], atol=2e-3)


def test_guidance_tables(system, project):
    out = project / "guidance"
    guidance.evaluate_guidance(
        system,
        project / "latents",
        project / "ldae.npz",
        out / "scans.tsv",
        out / "table.tsv",
        out / "differences.tsv",
        CFG | {"max_scans": 4},
        0,
    )
    scans = read_table(out / "scans.tsv")
    assert len(scans) == 4 * 4 * 5
    quartiles = scans[scans["quartile"] != "all"].groupby(["scan_id", "system"])["loss"].mean()
    overall = scans[scans["quartile"] == "all"].set_index(["scan_id", "system"])["loss"]
    np.testing.assert_allclose(quartiles, overall.loc[quartiles.index], rtol=1e-4)
    assert (scans["weighted_loss"] < scans["loss"]).all()  # lambda_t < 1
    gaps = read_table(out / "differences.tsv")
    gap = gaps[
        (gaps["reference"] == "wrong_y_sem") & (gaps["quartile"] == "all")
    ].set_index("metric")  # fmt: skip
    expected = overall.unstack()["right_y_sem"] - overall.unstack()["wrong_y_sem"]
    assert gap.loc["loss", "difference"] == pytest.approx(expected.mean(), abs=3e-6)


def test_ground_truth_correlations(project):
    out = project / "truth"
    embeddings = {name: project / f"{name}.npz" for name in ("ldae", "untrained")}
    arguments = (embeddings, project / "latents", out / "scans.tsv", out / "table.tsv", CFG, 0)
    probes.correlate_with_truth([project / "truth.tsv"], *arguments)
    table = read_table(out / "table.tsv")
    rows = table[table["reference"].isna() & (table["prediction"] == "atrophy_probe")]
    r = rows[rows["truth"] == "atrophy"].set_index("system")["r"]
    assert r["ldae"] > 0.8 > abs(r["untrained"])
    scans = read_table(out / "scans.tsv")
    mine = scans[(scans["system"] == "ldae") & (scans["prediction"] == "atrophy_probe")]
    assert r["ldae"] == pytest.approx(mine["output"].corr(mine["atrophy"]), abs=1e-4)
    assert "age_sex" not in set(table.loc[table["prediction"] == "age_probe", "system"])
    short = read_table(project / "truth.tsv").iloc[1:]
    write_table(short, out / "short.tsv")
    with pytest.raises(UserError, match="lacks 1 scan"):
        probes.correlate_with_truth([out / "short.tsv"], *arguments)


def test_ldae_system_refuses_models_of_another_autoencoder(project, tmp_path):
    torch.manual_seed(1)
    save_model(
        tmp_path / "autoencoder",
        build_autoencoder(AUTOENCODER).state_dict(),
        {"kind": "autoencoder", "architecture": AUTOENCODER},
    )
    models = {stage: project / stage for stage in LdaeSystem.stages}
    models["autoencoder"] = tmp_path / "autoencoder"
    with pytest.raises(UserError, match="another autoencoder"):
        LdaeSystem.load(models, CFG, "cpu", 1)


def test_ldae_system_refuses_store_with_training_subjects_in_test_split(system, project, tmp_path):
    index = make_index()
    index.loc[index["participant_id"] == "sub-20", "split"] = "test"  # was trained on
    card = VolumeStore(project / "volumes").card
    volumes = make_volumes(len(index)).astype(np.float16)
    write_store(tmp_path / "volumes", index, card, volumes=volumes)
    with pytest.raises(UserError, match=r"1 subject\(s\) that are in the test split .* sub-20: "):
        system.volume_store(tmp_path / "volumes")
    latents = np.zeros((len(index), 3, 8, 8, 8), np.float32)
    card = LatentStore(project / "latents").card | {"volumes": "other"}
    write_store(tmp_path / "latents", index, card, mean=latents, std=latents)
    with pytest.raises(UserError, match="sub-20"):
        system.latent_store(tmp_path / "latents")


def test_embeddings_of_another_model_or_volume_store_are_refused(system, project, tmp_path):
    scans = make_index()["scan_id"]
    system.volume_store(project / "volumes")
    codes = system.stored_codes(project / "ldae.npz", scans[:2])
    assert codes.shape == (2, DIM)
    made_of = {"model": system.card["sha256"], "volumes": system.card["data"]}
    for change, message in ({"model": "x"}, "another model"), ({"volumes": "x"}, "another volume"):
        path = tmp_path / "y.npz"
        save_embeddings(path, scans.tolist(), np.zeros((len(scans), DIM)), **made_of | change)
        with pytest.raises(UserError, match=message):
            system.stored_codes(path, scans[:2])
    with pytest.raises(UserError, match="another volume store"):
        load_probe_data(project / "latents", {"ldae": path}, 0)


def test_latents_pca_is_fitted_without_test_scans(project):
    from ldae.evaluation.probes.features import latents_pca

    store = LatentStore(project / "latents")
    table = store.index.copy()
    plain = latents_pca(store, table, 0)
    training = table["split"].isin(["train", "val"]).to_numpy()
    assert plain.shape == (len(table), min(64, training.sum() - 1))
    np.testing.assert_allclose(plain[training].mean(0), 0, atol=1e-4)
    assert np.abs(plain[~training].mean(0)).max() > 1e-2
