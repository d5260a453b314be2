"""External test sets: nothing of the cohort's own results changes, and their own rows are right."""

import numpy as np
import pandas as pd
import pytest

from helpers.models import CFG, load_ldae, run_probes, run_target
from ldae.evaluation.external_reconstruction import external_reconstruction_tables
from ldae.evaluation.metrics.bootstrap import (
    ClusterBootstrap,
    unpaired_difference,
    weighted_mean,
)
from ldae.evaluation.probes.external import evaluate_external_probes, read_own
from ldae.evaluation.probes.target_table import make_target
from ldae.evaluation.reconstruction import evaluate_reconstruction
from ldae.evaluation.reconstruction_tables import summary_table
from ldae.figures import probes as probes_figure
from ldae.figures.style import style
from ldae.files import read_table, write_table
from ldae.inference.embeddings import embed, ldae_encoder
from ldae.report.claims import external_claims
from ldae.report.tables.external import External
from ldae.report.tables.paper import table6, table7
from ldae.report.tables.targets import external as external_targets
from ldae.report.tables.targets import external_differences as external_target_differences
from ldae.report.verdicts import SHOWN

SIZES = ["system", "variant", "latent_dim", "parameters"]
KEYS = ["target", "probe", "system", "metric"]


@pytest.fixture(scope="module")
def probes(external_project, tmp_path_factory):
    """Folder of the probes' outputs, the project's own and those of two external test sets."""
    out = run_probes(external_project, tmp_path_factory.mktemp("probes"))
    evaluate_external_probes(
        {name: external_project / f"{name}.npz" for name in ("ldae", "untrained")},
        external_project / "latents",
        {
            name: out / f"predictions_{name}.tsv"
            for name in ("diagnosis", "age", "groups", "conversion")
        },
        ["OTHER", "LOST"],
        "ADNI",
        out / "probes_external.tsv",
        out / "probes_external_differences.tsv",
        CFG,
        0,
        volumes=external_project / "tissue_volumes.tsv",
        visits=external_project / "visits.tsv",
    )
    return out


def test_external_test_set_changes_no_byte_of_the_own_probes(probe_outputs, probes):
    for path in sorted(probe_outputs.iterdir()):
        assert path.read_bytes() == (probes / path.name).read_bytes(), path.name


def test_external_scores_of_copied_subjects_are_those_of_the_originals(probes):
    own = read_table(probes / "probes.tsv").set_index(KEYS)
    table = read_table(probes / "probes_external.tsv")
    found = table[table["cohort"] == "OTHER"].set_index(KEYS)
    assert list(found.index) == list(own.index)
    pd.testing.assert_series_equal(found["value"], own["value"])
    assert (found["n_subjects"] == own["n_subjects"]).all() and "paper" not in found
    differences = read_table(probes / "probes_external_differences.tsv").set_index(KEYS)
    assert set(differences["cohort"]) == {"OTHER"} and set(differences["reference"]) == {"ADNI"}
    # Stored predictions have 12 digits, and those of an ill-conditioned probe are large.
    assert (differences["difference"].dropna().abs() < 1e-6).all()
    age = differences.loc[("age", "regularised", "ldae", "mae")]
    assert age["ci_low"] < 0 < age["ci_high"] and age["n_subjects_reference"] == 6


def test_external_test_set_without_scans_has_rows_that_say_so(probes):
    table = read_table(probes / "probes_external.tsv")
    lost = table[table["cohort"] == "LOST"]
    assert set(lost["target"]) == {"diagnosis", "age", "groups", "conversion"}
    assert lost["value"].isna().all() and lost["note"].str.contains("ledger.tsv").all()


def test_target_with_a_table_of_its_own_has_a_row_that_says_so(external_project, tmp_path):
    groups = {"kind": "multiclass", "column": "stage", "table": "mine.tsv"}
    evaluate_external_probes(
        {"ldae": external_project / "ldae.npz"},
        external_project / "latents",
        {},
        ["LOST"],
        "ADNI",
        tmp_path / "probes.tsv",
        tmp_path / "differences.tsv",
        CFG | {"targets": CFG["targets"] | {"groups": groups}},
        0,
        volumes=external_project / "tissue_volumes.tsv",
        visits=external_project / "visits.tsv",
    )
    row = read_table(tmp_path / "probes.tsv").set_index("target").loc["groups"]
    assert row["cohort"] == "LOST" and "a table of its own" in row["note"]


def test_targets_of_the_user_are_scored_where_their_column_is(external_project, tmp_path):
    index = read_table(external_project / "latents/index.tsv")
    external = index["split"] == "external"
    columns = ["scan_id", "participant_id", "months", "diagnosis"]
    scans = index[columns].assign(score=index["age"] + 1, own_only=index["age"].mask(external))
    scans["stage"] = index["diagnosis"].map({"AD": "late", "CN": "early"})
    scans["rank"] = index["diagnosis"].map({"AD": 2.0, "CN": 0.0})
    strange = external & (index["scan_id"] == index.loc[external, "scan_id"].iloc[-1])
    scans.loc[strange, ["stage", "rank"]] = "none of ours", 1.0
    write_table(scans, tmp_path / "scans.tsv")
    abouts = {
        "score": {"kind": "continuous"},
        "own_only": {"kind": "continuous"},
        "stage": {"kind": "multiclass"},
        "rank": {"kind": "ordinal"},
    }
    cfg = CFG | {"targets": CFG["targets"] | abouts}
    for name, about in abouts.items():
        run_target(external_project, tmp_path, name, about, cfg, visits=tmp_path / "scans.tsv")
    evaluate_external_probes(
        {name: external_project / f"{name}.npz" for name in ("ldae", "untrained")},
        external_project / "latents",
        {name: tmp_path / f"predictions_{name}.tsv" for name in abouts},
        ["OTHER"],
        "ADNI",
        tmp_path / "external.tsv",
        tmp_path / "differences.tsv",
        cfg,
        0,
        volumes=external_project / "tissue_volumes.tsv",
        visits=tmp_path / "scans.tsv",
        names=list(abouts),
    )
    table = read_table(tmp_path / "external.tsv")
    assert set(table["target"]) == set(abouts)  # Table 7 has a table of its own
    found = table.set_index("target")
    assert found.loc["own_only", "note"] == "no scan of it has a value in column own_only"
    own = read_table(tmp_path / "score/scores.tsv").set_index(["system", "metric"])
    theirs = table[table["target"] == "score"].set_index(["system", "metric"])
    assert "mae" in theirs.loc["ldae"].index
    pd.testing.assert_series_equal(theirs["value"], own["value"])
    # Values that the own cohort does not have are no classes of its probes.
    known = int((external & ~strange & index["diagnosis"].isin(["AD", "CN"])).sum())
    for name in ("stage", "rank"):
        assert set(table.loc[table["target"] == name, "n_scans"]) == {known}
    assert "macro_auroc" in set(table.loc[table["target"] == "stage", "metric"])
    gaps = read_table(tmp_path / "differences.tsv")
    assert set(gaps["target"]) == {"score", "stage", "rank"}
    shown = external_targets(table)
    assert "OTHER, own_only, left out: no scan of it has a value" in shown.note
    assert shown.rows[0][:2] == ["OTHER", "score"] and len(shown.columns) > 5
    assert len(external_target_differences(gaps).rows) == len(shown.rows)


def test_stored_classes_that_are_numbers_are_text_again(tmp_path):
    path = tmp_path / "predictions.tsv"
    write_table(pd.DataFrame({"truth": ["0", "0.5", "1"], "predicted": ["1", "0", "1"]}), path)
    found = read_own(make_target("groups", {"kind": "multiclass", "column": "cdr_global"}), path)
    assert found["truth"].tolist() == ["0", "0.5", "1"]
    assert found["predicted"].tolist() == ["1", "0", "1"]
    found = read_own(make_target("age", {"kind": "continuous"}), path)
    assert found["predicted"].tolist() == [1, 0, 1]


@pytest.fixture(scope="module")
def reconstructions(project, external_project, tmp_path_factory):
    """Folder with the per-scan tables: own before, own beside an external test set, external."""
    out = tmp_path_factory.mktemp("reconstructions")
    for name, root, external in (
        ("before", project, ()),
        ("own", external_project, ()),
        ("external", external_project, ["OTHER"]),
        ("lost", external_project, ["LOST"]),
    ):
        evaluate_reconstruction(
            load_ldae(root, CFG),
            root / "volumes",
            out / f"{name}.tsv",
            CFG | {"ddim_steps": [2]},
            0,
            root / "ldae.npz",
            external=external,
        )
    return out


def test_external_test_set_changes_no_byte_of_the_own_reconstructions(reconstructions):
    assert (reconstructions / "before.tsv").read_bytes() == (
        reconstructions / "own.tsv"
    ).read_bytes()


@pytest.fixture(scope="module")
def reconstruction_tables(reconstructions):
    """Paths of the table of means and of the differences."""
    paths = [reconstructions / name for name in ("table.tsv", "differences.tsv")]
    external_reconstruction_tables(
        [reconstructions / "external.tsv"],
        [reconstructions / "own.tsv"],
        ["OTHER", "LOST"],
        "ADNI",
        *paths,
        50,
        0,
    )
    return paths


def test_external_reconstructions_of_copied_subjects_are_those_of_the_originals(
    reconstructions, reconstruction_tables
):
    own, found = (read_table(reconstructions / f"{name}.tsv") for name in ("own", "external"))
    assert set(found["cohort"]) == {"OTHER"}
    assert set(found["variant"]) == {"reconstruction", "encoded", "y_sem"}  # no controls
    autoencoder = own[own["system"] == "autoencoder"].sort_values("scan_id")
    theirs = found[found["system"] == "autoencoder"].sort_values("scan_id")
    np.testing.assert_allclose(theirs["mse"], autoencoder["mse"], rtol=1e-4)
    table, gaps = map(read_table, reconstruction_tables)
    row = table[(table["system"] == "autoencoder") & (table["metric"] == "mse")].squeeze()
    assert row["value"] == pytest.approx(theirs["mse"].mean(), rel=1e-4) and row["n_subjects"] == 6
    lost = table[table["cohort"] == "LOST"].squeeze()
    assert pd.isna(lost["value"]) and "ledger.tsv" in lost["note"]
    gap = gaps[(gaps["system"] == "autoencoder") & (gaps["metric"] == "mse")].squeeze()
    assert abs(gap["difference"]) < 1e-4 * row["value"] and gap["ci_low"] < 0 < gap["ci_high"]
    assert set(gaps["reference"]) == {"ADNI"} and len(gaps) == len(table) - 1


def test_external_test_set_without_scans_gives_an_empty_table(reconstructions):
    table = read_table(reconstructions / "lost.tsv")
    assert table.empty and {"cohort", "participant_id", "system"} <= set(table)


def test_external_test_set_changes_no_bit_of_the_other_embeddings(
    project, external_project, tmp_path
):
    codes = {}
    for name, root in (("before", project), ("after", external_project)):
        path = tmp_path / f"{name}.npz"
        # The copies come last by name. Batches of five would mix them with the last own scan.
        embed("y", ldae_encoder, root / "ldae", root / "volumes", path, "cpu", 1, 5)
        with np.load(path) as file:
            codes[name] = dict(zip(file["scan_id"].tolist(), file["y_sem"], strict=True))
    assert len(codes["after"]) > len(codes["before"])
    for scan, code in codes["before"].items():
        assert (codes["after"][scan] == code).all(), scan
    for scan in set(codes["after"]) - set(codes["before"]):
        original = codes["before"][scan.replace("sub-OTHER", "sub-")]
        np.testing.assert_allclose(codes["after"][scan], original, atol=1e-5)


def test_tables_6_and_7_have_rows_of_each_external_test_set(
    reconstructions, reconstruction_tables, probes
):
    sizes = pd.DataFrame([("ldae", "y_sem", 768, 1e6)], columns=SIZES)
    means = summary_table(read_table(reconstructions / "own.tsv"), 50, 0)
    external = External("ADNI", *map(read_table, reconstruction_tables))
    alone, beside = table6(means, sizes), table6(means, sizes, external)
    assert beside.columns == ["Test set", *alone.columns]
    assert [row[1:] for row in beside.rows if row[0] == "ADNI"] == alone.rows
    own = {tuple(row[1:3]): row for row in beside.rows if row[0] == "ADNI"}
    for name in ("OTHER", "OTHER − ADNI"):
        theirs = [row for row in beside.rows if row[0] == name]
        assert {tuple(row[1:3]) for row in theirs} <= set(own) and len(theirs) > 3
    assert "OTHER: 18 scans of 6 subjects." in beside.note
    assert "LOST, left out: none of its scans is in the volume store" in beside.note

    paths = {
        name: probes / f"{name}.tsv" for name in ("probes_external", "probes_external_differences")
    }
    found = table7(
        read_table(probes / "probes.tsv"), External.read(paths, "probes_external", "ADNI")
    )
    assert {row[0] for row in found.rows} == {"ADNI", "OTHER", "OTHER − ADNI"}
    estimates = {
        name: [
            [cell.split(" [")[0] for cell, column in zip(row, found.columns, strict=True)
             if not column.endswith("paper")][1:]
            for row in found.rows if row[0] == name and row[1] != "MCI to AD"
        ]
        for name in ("ADNI", "OTHER")
    }  # fmt: skip
    assert estimates["ADNI"] == estimates["OTHER"] and len(estimates["OTHER"]) > 20
    assert "OTHER, MCI to AD, left out: too few subjects" in found.note


def test_figure_of_the_probes_has_a_row_of_the_ldae_for_each_external_test_set(probes):
    inputs = {"table": probes / "probes.tsv", "external": probes / "probes_external.tsv"}
    with style():
        alone = probes_figure.draw({"table": inputs["table"]}, {})
        beside = probes_figure.draw(inputs, {})
    assert "cohort" not in alone.data
    added = beside.data[beside.data["cohort"].notna()]
    assert added[["target", "system", "cohort"]].to_numpy().tolist() == [
        ["diagnosis", "ldae", "OTHER"], ["age", "ldae", "OTHER"],
    ]  # fmt: skip
    own = beside.data[beside.data["cohort"].isna()].drop(columns="cohort")
    pd.testing.assert_frame_equal(own.reset_index(drop=True), alone.data, check_dtype=False)
    assert "LDAE, OTHER 1.00" in beside.result


def test_claims_on_an_external_test_set_need_its_rows(reconstruction_tables, probes):
    tables = {
        "reconstruction_external": read_table(reconstruction_tables[0]),
        "probes_external": read_table(probes / "probes_external.tsv"),
    }
    found = external_claims(*tables.values())
    assert len(found) == 2 and all("OTHER" in one.text for one in found)  # none of LOST
    assert found[1].found == "1.000 [1.000, 1.000]" and found[1].verdict == SHOWN


def test_difference_of_two_groups_resamples_both():
    rng = np.random.default_rng(0)
    values = [rng.normal(mean, 1, 400) for mean in (1.0, 0.0)]
    groups = [ClusterBootstrap(range(400), 2000, seed) for seed in (1, 2)]
    first, second = map(weighted_mean, values)
    gap = unpaired_difference(groups[0], first, groups[1], second)
    assert gap.estimate == pytest.approx(values[0].mean() - values[1].mean())
    expected = 2 * 1.96 * np.sqrt(sum(one.var() / 400 for one in values))
    assert gap.high - gap.low == pytest.approx(expected, rel=0.1)
    alone = ClusterBootstrap(["one"] * 400, 2000, 1)
    assert np.isnan(unpaired_difference(alone, first, groups[1], second).low)
    with pytest.raises(ValueError, match="same number of resamples"):
        unpaired_difference(ClusterBootstrap(range(400), 9, 1), first, groups[1], second)
