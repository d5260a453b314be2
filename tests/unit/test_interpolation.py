"""Interpolation and extrapolation of visits of one subject, and their baselines."""

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.models import CFG, SHAPE
from ldae.errors import UserError
from ldae.evaluation import extrapolation, interpolation
from ldae.evaluation.ageing import Ageing
from ldae.evaluation.correction import NONE
from ldae.evaluation.longitudinal import VisitCodes
from ldae.files import read_table

OUTPUTS = ("triplets", "table", "differences")
OUTPUTS += ("extrapolation_triplets", "extrapolation", "extrapolation_differences", "correction")


def evaluate(system, project, out: Path, cfg=CFG, subject=None) -> dict[str, Path]:
    paths = {name: out / f"{name}.tsv" for name in OUTPUTS} | {"example": out / "example.npz"}
    inputs = (system, project / "volumes", project / "ldae.npz", project / "latents", paths)
    interpolation.evaluate_interpolation(*inputs, cfg, subject, 0)
    return paths


def still(codes: VisitCodes) -> Ageing:
    """A population that does not change."""
    return Ageing(torch.zeros_like(codes.y[0]), torch.zeros_like(codes.z_0[0]), 0)


@pytest.fixture(scope="module")
def outputs(system, project) -> dict[str, Path]:
    return evaluate(system, project, project / "out")


@pytest.fixture(scope="module")
def codes(system, project) -> VisitCodes:
    """The three visits of one participant."""
    store = system.volume_store(project / "volumes")
    visits = store.index[store.index["participant_id"] == "sub-01"]
    return VisitCodes(system, store, project / "ldae.npz", visits, 2, 8)


def test_interpolation_tables(outputs):
    scans, table = read_table(outputs["triplets"]), read_table(outputs["table"])
    assert len(scans) == 3 * 5  # participants with one triplet each, methods
    assert (scans["alpha"] == 0.5).all()
    overall = table[(table["grouping"] == "overall") & (table["metric"] == "mse_to_ae")]
    for row in overall.itertuples():
        expected = scans.loc[scans["method"] == row.method, "mse_to_ae"].mean()
        assert row.value == pytest.approx(expected, rel=1e-4)
    assert set(table["grouping"]) == {
        "overall", "prediction_gap", "time_gap", "relative_position",
    }  # fmt: skip
    assert table.loc[table["grouping"] == "relative_position", "group"].unique() == ["0.4-0.6"]
    with np.load(outputs["example"]) as file:
        assert file["factor"].tolist() == [0, 0.5, 1]
        assert file["interpolated"].shape == file["original"].shape == (3, *SHAPE)
        known = file["autoencoder"].astype(np.float32)
        assert (file["nearest_visit"] == known[[0, 0, 2]]).all()
        np.testing.assert_allclose(file["voxel_average"][1], known[[0, 2]].mean(axis=0), atol=1e-3)
        assert file["latent_lerp"].shape == known.shape


def test_extrapolation_tables(outputs):
    scans = read_table(outputs["extrapolation_triplets"])
    assert len(scans) == 3 * 8
    assert (scans["alpha"] == 2).all()
    assert scans[["start", "end", "target"]].drop_duplicates().to_numpy().tolist() == [[0, 12, 24]]
    table = read_table(outputs["extrapolation"])
    assert set(table["grouping"]) == {"overall", "horizon", "time_gap"}
    assert set(table["method"]) == set(extrapolation.METHODS)
    assert set(table.loc[table["grouping"] == "horizon", "group"]) == {"12"}
    gaps = read_table(outputs["extrapolation_differences"])
    gap = gaps[(gaps["reference"] == "last_visit") & (gaps["metric"] == "mse")].iloc[0]
    mse = scans.pivot(index="participant_id", columns="method", values="mse")
    assert gap["difference"] == pytest.approx((mse["ldae"] - mse["last_visit"]).mean(), rel=1e-2)
    assert gap["n_better"] == (mse["ldae"] < mse["last_visit"]).sum()


def test_interpolation_encodes_each_visit_once_with_an_example_subject(
    system, project, monkeypatch
):
    batch_sizes = []
    encode = system.encode_zT

    def counted(z_0, *more):
        batch_sizes.append(len(z_0))
        return encode(z_0, *more)

    monkeypatch.setattr(system, "encode_zT", counted)
    paths = evaluate(system, project, project / "shown", subject="sub-05")
    assert sum(batch_sizes) == 4 * 3  # three participants evaluated, one more shown
    assert set(read_table(paths["triplets"])["participant_id"]) == {"sub-00", "sub-02", "sub-04"}
    ahead = read_table(paths["extrapolation_triplets"])
    assert set(ahead["participant_id"]) == {"sub-00", "sub-02", "sub-04"}
    with np.load(paths["example"]) as file:
        assert str(file["participant_id"]) == "sub-05"


def test_interpolation_refuses_subjects_with_too_few_visits(system, project):
    few = CFG | {"interpolation": CFG["interpolation"] | {"min_visits": 4}}
    with pytest.raises(UserError, match="min_visits"):
        evaluate(system, project, project / "few", few)
    with pytest.raises(UserError, match="interpolation_subject is sub-20"):
        evaluate(system, project, project / "few", subject="sub-20")


def test_interpolation_baselines_voxel_average_and_nearest_visit(codes):
    chosen = interpolation.triplets(codes.visits["months"].tolist())
    images = dict(interpolation.predictions(codes, chosen))
    mean = (codes.decoded[0] + codes.decoded[2]) / 2
    torch.testing.assert_close(images["voxel_average"][0], mean)
    assert torch.equal(images["nearest_visit"][0], codes.decoded[0])


def test_next_visits_have_two_predecessors_each():
    assert extrapolation.next_visits([0, 6, 6, 12, 24], 10) == [(10, 11, 13), (11, 13, 14)]
    assert extrapolation.next_visits([0, 6]) == []


def test_linear_extrapolation_of_a_linear_course_is_exact(codes, monkeypatch):
    line = torch.stack([0.2 + 0.1 * k * torch.rand(1, *SHAPE) for k in (0, 1)])
    decoded = torch.cat([line, 2 * line[1:] - line[:1]])  # visits at 0, 12, 24 months
    monkeypatch.setattr(codes, "decoded", decoded)
    monkeypatch.setattr(
        codes, "z_0", torch.cat([codes.z_0[:2], 2 * codes.z_0[1:2] - codes.z_0[:1]])
    )
    found = extrapolation.extrapolate(codes, 8, still(codes), NONE).set_index("method")
    assert found.loc["voxel_linear", "mse_to_ae"] < 1e-12
    assert found.loc["last_visit", "mse_to_ae"] > 1e-4
    images = dict(extrapolation.predictions(codes, [0], [1], torch.tensor([2.0])))
    torch.testing.assert_close(images["latent_linear"], codes.system.image(codes.z_0[2:]))


def test_extrapolation_at_alpha_one_is_the_last_visit(codes):
    images = dict(extrapolation.predictions(codes, [0], [1], torch.tensor([1.0])))
    own = codes.system.image(codes.system.decode(codes.z_T[1:2], codes.y[1:2], codes.steps))
    torch.testing.assert_close(images["ldae"], own, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(images["ldae_last_noise"], own, atol=1e-4, rtol=1e-3)
    assert torch.equal(images["last_visit"], codes.decoded[1:2])


def test_averages_are_of_all_visits_before_the_target(codes, monkeypatch):
    assert extrapolation.visits_so_far(codes, 2) == [0, 1]
    aged = still(codes)._replace(z=torch.ones_like(codes.z_0[0]))
    found = extrapolation.predictions_of_averages(codes, [[0, 1]], [2], aged, NONE)
    images = dict(found)
    torch.testing.assert_close(images["mean_visits"], codes.decoded[:2].mean(0, keepdim=True))
    mean = codes.z_0[:2].mean(0, keepdim=True)
    torch.testing.assert_close(images["ldae_corrected"], codes.system.image(mean))
    # From the mean month, 6, to month 24.
    torch.testing.assert_close(images["population_change"], codes.system.image(mean + 1.5))


def test_differences_are_of_the_ldae_and_of_the_corrected_average(outputs):
    for name, others in (("differences", 3), ("extrapolation_differences", 6)):
        pairs = read_table(outputs[name])[["method", "reference"]].drop_duplicates()
        counts = pairs["method"].value_counts()
        assert counts["ldae"] == others and counts["ldae_corrected"] == others + 1
        assert "ldae_corrected" not in set(pairs["reference"])
    # No validation participant of the project has three visits: nothing is corrected.
    chosen = read_table(outputs["correction"]).query("chosen")
    assert chosen["study"].tolist() == ["interpolation", "extrapolation"]
    assert (chosen["strength"] == 0).all() and (chosen["n_subjects"] == 0).all()
    scans = read_table(outputs["triplets"]).pivot(
        index="participant_id", columns="method", values="ssim"
    )
    assert (scans["ldae_corrected"] == scans["latent_lerp"]).all()


def test_errors_of_measured_volumes_are_between_decoded_images(codes, monkeypatch):
    volumes = codes.original([0, 1, 2])
    monkeypatch.setattr(codes, "decoded", volumes)
    monkeypatch.setattr(codes, "measured", codes.measure(volumes))
    same = codes.compare([0, 1], volumes[:2])
    assert not same["ventricle_error"].any() and not same["hippocampus_error"].any()
    filled = volumes[:1].clone()  # one voxel of fluid in the ventricles' region becomes tissue
    fluid = (filled[0, 0] > 0.02) & (filled[0, 0] < 0.2) & (codes.regions.ventricles == 1)
    x, y, z = fluid.nonzero()[0]
    filled[0, 0, x, y, z] = 0.75
    error = codes.compare([0], filled)
    assert error["ventricle_error"].item() == pytest.approx(codes.regions.voxel_ml, rel=1e-3)
    assert error["hippocampus_error"].item() < 0.05 * codes.regions.voxel_ml  # by the median
