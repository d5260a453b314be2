"""Proof page: thresholds are evaluated on the tables of every seed."""

import re
import shutil

import pandas as pd
import pytest

from helpers.planted_tables import planted_table
from helpers.results import make_results
from ldae.errors import UserError
from ldae.files import read_json, read_table, write_json, write_table
from ldae.labels import ABSENT
from ldae.orchestration.job_usage import COLUMNS
from ldae.report.build import read_cards
from ldae.report.methods import methods
from ldae.report.proof_page import build_proof
from ldae.report.proof_planted import PLANTED
from ldae.report.proof_thresholds import LATER, RECONSTRUCTIONS, SHOWN_FIGURES

ALPHA = 2.0


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Results of seed 1, with the rows and tables that only a synthetic cohort has."""
    folder = tmp_path_factory.mktemp("runs") / "seed-1"
    make_results(folder)
    tables = folder / "tables"
    probes = read_table(tables / "probes.tsv")
    ground_truth = probes[(probes["system"] == "ldae") & (probes["metric"] == "auroc")].assign(
        system="oracle", value=0.9
    )
    write_table(pd.concat([probes, ground_truth]), tables / "probes.tsv")
    correlation = {"system": "ldae", "variant": "y_sem", "T": 100, "measure": "ventricle_ml"}
    correlation |= {"r": 0.85, "ci_low": 0.7, "ci_high": 0.9}
    write_table(pd.DataFrame([correlation]), tables / "reconstruction_volumes.tsv")
    write_table(pd.DataFrame([correlation | {"r": 0.7}]), tables / "decoded_volumes.tsv")
    write_table(planted_table(), tables / "planted.tsv")
    took = pd.DataFrame({"rule": ["ldae"], "seconds": [7200.0], "cpu_hours": [1.5]})
    write_table(took.reindex(columns=COLUMNS), tables / "resources.tsv")
    history = {"epoch": [1, 5, 6, 10], "val_loss": [None, 0.4, None, 0.3]}
    history |= {"val_loss_frozen": 0.5, "val_ssim": 0.7, "val_y_rank": [None, 3.0, None, 9.25]}
    write_table(pd.DataFrame(history), folder / "models/ldae/history.tsv")
    card = read_json(folder / "models/ldae/model.json")
    card |= {"data": "d", "split": "s", "machine": card["machine"] | {"threads": 2}}
    write_json(card, folder / "models/ldae/model.json")
    (folder / "figures").mkdir()
    for name in SHOWN_FIGURES:
        (folder / "figures" / f"{name}.png").write_bytes(b"png of " + name.encode())
        (folder / "figures" / f"{name}.caption.txt").write_text(f"Title\n\nCaption of {name}.\n")
        (folder / "figures" / f"{name}.result.txt").write_text(f"Result of {name}.\n")
    return folder


@pytest.fixture
def runs(first, tmp_path):
    """Results of two seeds, equal at first; tests change them."""
    return {seed: shutil.copytree(first, tmp_path / f"seed-{seed}") for seed in (1, 2)}


def proof_page(runs, folder):
    configuration = folder / "proof.yaml"
    configuration.write_text("seed: 1\n")
    page = folder / "docs/proof.md"
    page.parent.mkdir(exist_ok=True)
    build_proof(runs, page, folder / "docs/images/proof", configuration, "make proof", ALPHA)
    return page


def table_row(text, start):
    """Cells of the table row that begins with ``start``."""
    (found,) = [row for row in text.splitlines() if row.startswith(f"| {start}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def add_slices(run, shift):
    """Rows of an LDAE with slices, whose reconstructions have a SSIM higher by ``shift``."""
    probes = read_table(run / "tables/probes.tsv")
    mine = probes[probes["system"] == "ldae"].assign(system="ldae_slices")
    write_table(pd.concat([probes, mine]), run / "tables/probes.tsv")
    gaps = read_table(run / "tables/probes_differences.tsv")
    mine = gaps[gaps["reference"] == "untrained"].assign(
        reference="ldae_slices", difference=0.05, ci_low=-0.01, ci_high=0.11
    )
    write_table(pd.concat([gaps, mine]), run / "tables/probes_differences.tsv")
    truth = read_table(run / "tables/truth.tsv")
    mine = truth[truth["reference"] == "untrained"].assign(reference="ldae_slices", r=0.1)
    write_table(pd.concat([truth, mine]), run / "tables/truth.tsv")
    scans = read_table(run / RECONSTRUCTIONS["ldae"])
    mine = scans[scans["system"] == "ldae"]
    other = mine.assign(system="ldae_slices", ssim=mine["ssim"] + shift)
    write_table(other.iloc[::-1], run / RECONSTRUCTIONS["ldae_slices"])


def test_proof_sets_the_encoder_beside_the_papers_scan_by_scan(runs, tmp_path):
    assert "## The encoder beside the paper's" not in proof_page(runs, tmp_path).read_text()
    for run, shift in ((runs[1], -0.02), (runs[2], 0.01)):
        add_slices(run, shift)
    text = proof_page(runs, tmp_path).read_text()
    section = text.split("## The encoder beside the paper's")[1].split("## ")[0]
    assert table_row(section, "AD/CN: AUROC")[1] == "0.050 [−0.010, 0.110]"
    assert table_row(section, "true atrophy: r")[2].startswith("0.100 [")
    for label in ("decoded from y_sem alone", "decoded from y_sem and inverted noise"):
        cells = table_row(section, label)[1:]
        assert [cell.split()[0].rstrip("0") for cell in cells] == ["0.02", "−0.01"]
    truth = read_table(runs[2] / "tables/truth.tsv")
    write_table(truth[truth["reference"] != "ldae_slices"], runs[2] / "tables/truth.tsv")
    text = proof_page(runs, tmp_path).read_text()
    assert table_row(text.split("## The encoder beside")[1], "true atrophy: r")[2] == ABSENT


def test_proof_threshold_is_met_only_if_every_seed_meets_it(runs, tmp_path):
    correlation = read_table(runs[2] / "tables/reconstruction_volumes.tsv").assign(r=0.79)
    write_table(correlation, runs[2] / "tables/reconstruction_volumes.tsv")
    gaps = read_table(runs[2] / "tables/probes_differences.tsv")
    gaps.loc[gaps["reference"] == "age_sex", "ci_low"] = -0.01
    write_table(gaps, runs[2] / "tables/probes_differences.tsv")
    text = proof_page(runs, tmp_path).read_text()
    relative = table_row(text, "AD/CN: AUROC as a share")  # 0.83 of 0.9
    assert relative[1:3] == ["at least 0.9", "0.922"]
    assert relative[-1] == "met"
    decoded = table_row(text, "r of the decoded image's ventricle volume with the scan's")
    assert decoded[2:] == ["0.850 [0.700, 0.900]", "0.790 [0.700, 0.900]", "1 of 2"]
    untrained = table_row(text, "AD/CN: AUROC above an untrained")
    before = read_table(runs[1] / "tables/probes_differences.tsv")
    assert (before["ci_low"].iloc[0] > 0) == (untrained[-1] == "met")
    assert table_row(text, "AD/CN: AUROC above age and sex")[-1] != "met"
    counterfactual = table_row(text, "CN → AD: nearer to the true counterfactual than no change")
    assert counterfactual[1] == "interval below 0"
    assert counterfactual[-1] == "met"
    calls = table_row(text, "reconstruction, multistep, T = 10")
    assert calls[1] == "interval above −0.0005"
    true = table_row(text, "r of the decoded image's ventricle volume with the true one")
    assert true[1] == "at least 0.8" and true[-1] == "**not met**"
    at_first, rest = text.split(f"### {LATER[0]}")
    later = rest.split(f"### {PLANTED[0]}")[0]
    rows = [len(re.findall(r"\| met \|$", part, re.M)) for part in (at_first, later)]
    assert f"**{rows[0]} of 23 thresholds are met with every seed**" in text
    assert f"and {rows[1]} of 18 that were set later" in text
    assert "on the solvers and on the true volumes." in text


def test_planted_truths_are_judged_apart_from_the_models(runs, tmp_path):
    planted = read_table(runs[2] / "tables/planted.tsv")
    planted.loc[planted["planted"] == "skewed", "flag"] = "no"
    write_table(planted, runs[2] / "tables/planted.tsv")
    text = proof_page(runs, tmp_path).read_text()
    assert "Beside them 29 of 30 are met that test the evaluation" in text
    skewed = table_row(text, "skewed site: Cramér's V")
    assert skewed[0].endswith("planted 0.40") and skewed[-1] == "1 of 2"
    number = table_row(text, "number (tissue loss, and noise of half its SD): Correlation by the")
    assert number[2:] == ["0.000 [−0.100, 0.100]"] * 2 + ["met"]
    assert "Codes of site B are moved by so many SDs" in text


def test_corrected_averages_are_judged_by_their_own_rows(runs, tmp_path):
    row = {"method": "ldae_corrected", "reference": "last_visit", "difference": -0.7}
    row |= {"ci_low": -0.9, "ci_high": -0.5, "metric": "ventricle_error"}
    for name, folder in runs.items():
        path = folder / "tables/extrapolation_differences.tsv"
        worse = pd.DataFrame([row | {"ci_high": -0.5 if name == 1 else 0.1}])
        rest = read_table(path).query("method != 'ldae_corrected'")
        write_table(pd.concat([rest, worse]), path)
    text = proof_page(runs, tmp_path).read_text()
    found = table_row(text, "error of the ventricle volume (ml) below the last visit")
    assert found[1] == "interval below 0" and found[-1] == "1 of 2"
    assert table_row(text, "error of the hippocampus volume (ml) below the last")[-1] != "met"


def test_proof_threshold_without_table_row_is_not_met(runs, tmp_path):
    for folder in runs.values():
        assert "latents_pca" not in set(read_table(folder / "tables/truth.tsv")["reference"])
        write_table(
            read_table(folder / "tables/manipulation_trends.tsv").query("direction != 'AD to CN'"),
            folder / "tables/manipulation_trends.tsv",
        )
    text = proof_page(runs, tmp_path).read_text()
    assert table_row(text, "true atrophy: r above PCA")[2:] == ["–", "–", "**not met**"]
    assert table_row(text, "AD → CN: ventricle volume monotone")[2:] == ["–", "–", "**not met**"]


def test_proof_page_names_method_that_is_better_than_ldae(runs, tmp_path):
    assert "The LDAE is the best with every seed." in proof_page(runs, tmp_path).read_text()
    visits = read_table(runs[2] / "tables/interpolation.tsv")
    visits.loc[visits["method"] == "voxel_average", "value"] = 0.999
    write_table(visits, runs[2] / "tables/interpolation.tsv")
    text = proof_page(runs, tmp_path).read_text()
    assert "Another method than the LDAE is the best with seed 2 (Voxel average)." in text


def test_proof_page_shows_training_from_first_to_last_validation(runs, tmp_path):
    history = read_table(runs[2] / "models/ldae/history.tsv").assign(val_loss_frozen=0.45)
    write_table(history, runs[2] / "models/ldae/history.tsv")
    text = proof_page(runs, tmp_path).read_text()
    assert "The LDAE after epoch 5 → 10." in text
    assert table_row(text, "weighted loss, guided")[1:] == ["0.400 → 0.300"] * 2
    assert table_row(text, "weighted loss, frozen")[1:] == ["0.500 → 0.500", "0.450 → 0.450"]
    assert table_row(text, "effective rank of y_sem")[1:] == ["3.0 → 9.2"] * 2
    assert table_row(text, "probe: AUROC")[1:] == ["– → –"] * 2  # too few subjects for a probe


def test_proof_page_has_figures_settings_hours_and_command(runs, tmp_path):
    page = proof_page(runs, tmp_path)
    text = page.read_text()
    for name in SHOWN_FIGURES:
        assert f"(images/proof/{name}.png)" in text
        assert f"Result of {name}.\n\nCaption of {name}." in text
        assert (page.parent / f"images/proof/{name}.png").read_bytes().endswith(name.encode())
    assert "```yaml\nseed: 1\n```" in text
    assert "`make proof`" in text
    assert table_row(text, "1 | cpu")[2:] == ["2.00", "1.50"]
    assert table_row(text, "all |")[2:] == ["4.00", "3.00"]


def test_proof_page_refuses_different_scans_and_missing_figures(runs, tmp_path):
    (runs[1] / "figures/probes.png").rename(tmp_path / "away.png")
    with pytest.raises(UserError, match=r"probes\.png or its caption is missing"):
        proof_page(runs, tmp_path)
    (tmp_path / "away.png").rename(runs[1] / "figures/probes.png")
    path = runs[2] / "models/ldae/model.json"
    write_json(read_json(path) | {"data": "other"}, path)
    with pytest.raises(UserError, match="do not have the same scans and splits"):
        proof_page(runs, tmp_path)


def test_methods_of_preprocessed_input_name_no_own_preprocessing(tmp_path):
    _, config = make_results(tmp_path)
    index, cards = read_table(tmp_path / "cache/volumes/index.tsv"), read_cards(tmp_path / "models")
    before = dict(methods(config, cards, index, {"torch": "2"}))
    assert "N4 bias correction" in before["Preprocessing"]
    config["cohort"] |= {"preprocessed_dir": "mine", "name": "MINE"}
    after = dict(methods(config, cards, index, {"torch": "2"}))
    assert "were done elsewhere" in after["Preprocessing"]
    assert "N4" not in after["Preprocessing"]
    assert "1.5 mm with 128 × 160 × 128 voxels." in after["Preprocessing"]
    assert "MINE, which came preprocessed" in after["Data"]
    assert "Clinica" not in after["Data"]
    config["cohort"] |= {"preprocessed_dir": None, "beside": {"SYN": {"preprocessed_dir": "x"}}}
    mixed = dict(methods(config, cards, index, {"torch": "2"}))
    assert "N4 bias correction" in mixed["Preprocessing"]
    assert "The scans of SYN came preprocessed" in mixed["Preprocessing"]
    assert "SYN, which came preprocessed." in mixed["Data"]
