"""Quality against network calls, by every solver."""

import numpy as np
import pandas as pd
import pytest

from helpers.models import CFG
from ldae.evaluation.interpolation import evaluate_interpolation
from ldae.evaluation.manipulation import evaluate_manipulation
from ldae.evaluation.reconstruction import evaluate_reconstruction
from ldae.evaluation.solver_study import evaluate_solvers, first_middle_last, network_calls
from ldae.files import read_table

KEY = ["experiment", "metric", "solver", "T"]
MOST = max(CFG["solver_study"]["ddim_steps"])


@pytest.fixture(scope="module")
def study(system, project, probe_outputs) -> dict[str, pd.DataFrame]:
    paths = {name: project / f"study/{name}.tsv" for name in ("scans", "table", "differences")}
    inputs = (project / "volumes", project / "ldae.npz", probe_outputs / "classifier.npz")
    evaluate_solvers(system, *inputs, **paths, cfg=CFG, seed=0)
    return {name: read_table(path) for name, path in paths.items()}


def of_ddim(study, experiment: str, metric: str) -> pd.Series:
    """Values by scan of DDIM at the largest T."""
    scans = study["scans"].set_index(KEY).sort_index().loc[(experiment, metric, "ddim", MOST)]
    return scans.set_index("scan_id")["value"].sort_index()


def test_every_solver_and_number_of_steps_has_its_mean_and_its_difference(study):
    scans, table, gaps = study.values()
    assert len(table) == len(gaps) == 5 * 2 * (4 + 3 + 1)
    means = scans.groupby(KEY)["value"].mean()
    found = table.set_index(KEY)
    assert found["value"].to_numpy() == pytest.approx(means.loc[found.index], rel=1e-4)
    change = gaps.set_index(KEY)["difference"]
    expected = found["value"] - found["value"].xs(("ddim", MOST), level=("solver", "T")).reindex(
        found.index.droplevel(["solver", "T"])
    ).to_numpy()  # fmt: skip
    assert change.to_numpy() == pytest.approx(expected.loc[change.index], abs=2e-5)
    assert (change.xs(("ddim", MOST), level=("solver", "T")) == 0).all()
    assert set(table.loc[table["experiment"] == "interpolation", "n_scans"]) == {3}
    latent = found["value"].sort_index().loc["reconstruction", "latent_rmse"]
    assert latent["midpoint"].max() < 1e-3 < latent["ddim"].min()


def test_calls_are_those_of_one_scan(study):
    calls = study["table"].set_index(["experiment", "solver", "T"])["calls"].sort_index()
    assert set(calls["reconstruction", "ddim", 4]) == set(calls["manipulation", "ddim", 4]) == {8}
    assert set(calls["interpolation", "ddim", 4]) == {12}  # two visits are inverted
    assert network_calls("reconstruction", "ddim_refined", 10) == 30
    assert network_calls("interpolation", "midpoint", 10) == 29


def test_reconstructions_are_those_of_table_6(study, system, project, tmp_path):
    cfg = CFG | {"ddim_steps": [MOST], "max_scans": CFG["solver_study"]["max_scans"]}
    inputs = (project / "volumes", tmp_path / "scans.tsv", cfg, 0, project / "ldae.npz")
    scans = evaluate_reconstruction(system, *inputs)
    encoded = scans[(scans["system"] == "ldae") & (scans["variant"] == "encoded")]
    for metric in ("ssim", "ssim_to_ae", "mse"):
        expected = encoded.set_index("scan_id")[metric].sort_index()
        np.testing.assert_allclose(of_ddim(study, "reconstruction", metric), expected, atol=2e-4)


def test_predicted_visits_are_those_of_the_interpolation(study, system, project, tmp_path):
    cfg = CFG | {"interpolation": CFG["interpolation"] | {"ddim_steps": MOST}}
    names = ("triplets", "table", "differences", "extrapolation_triplets", "extrapolation",
             "extrapolation_differences", "example", "correction")  # fmt: skip
    outputs = {name: tmp_path / name for name in names}
    inputs = (system, project / "volumes", project / "ldae.npz", project / "latents", outputs)
    evaluate_interpolation(*inputs, cfg, None, 0)
    triplets = read_table(outputs["triplets"])
    mine = triplets[triplets["method"] == "ldae"].sort_values("participant_id")
    found = of_ddim(study, "interpolation", "ssim_to_ae")
    np.testing.assert_allclose(found, mine["ssim_to_ae"], atol=2e-4)


def test_manipulated_volumes_are_those_of_the_manipulation(
    study, system, project, probe_outputs, tmp_path
):
    cfg = CFG | {"manipulation": CFG["manipulation"] | {"ddim_steps": MOST, "alphas": [1.5]}}
    inputs = (project / "volumes", project / "ldae.npz")
    probes = (probe_outputs / "classifier.npz", probe_outputs / "age_regressor.npz")
    outputs = [tmp_path / name for name in ("scans", "table", "trends")]
    evaluate_manipulation(system, *inputs, *probes, *outputs, cfg, 0)
    scans = read_table(outputs[0])
    plain = scans[(scans["way"] == "plain") & (scans["alpha"] == 1.5)].set_index("scan_id")
    found = of_ddim(study, "manipulation", "ventricle_ml")
    both = found.index.intersection(plain.index)
    assert set(plain.loc[both, "direction"]) == {"AD to CN", "CN to AD"}
    np.testing.assert_allclose(found[both], plain.loc[both, "ventricle_ml"], rtol=5e-3)


@pytest.mark.parametrize(
    ("months", "chosen"),
    [([0, 6, 12, 24], [0, 12, 24]), ([0, 0, 6, 60], [0, 6, 60]), ([0, 5, 20, 24, 24], [0, 5, 24])],
)
def test_middle_visit_is_the_nearest_to_halfway_and_between_the_ends(months, chosen):
    visits = pd.DataFrame({"months": months}, index=range(7, 7 + len(months)))
    assert first_middle_last(visits)["months"].tolist() == chosen
