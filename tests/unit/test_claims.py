"""Claims on a run, their verdicts, and the summary in plain sentences."""

import math

import pandas as pd
import pytest

from helpers.results import make_results
from ldae.files import read_table
from ldae.report.build import NEEDED
from ldae.report.claims import claims
from ldae.report.sections import SECTIONS
from ldae.report.summary import sentences, tally
from ldae.report.tables.interpolation import corrections
from ldae.report.verdicts import OPEN, OPPOSITE, SHOWN, Criterion, verdict

OWN = "Decoding from the scan's own y_sem is closer to it than from another subject's"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Results folder with its configuration."""
    folder = tmp_path_factory.mktemp("results")
    return folder, make_results(folder)[1]


def test_claim_verdict_follows_from_interval_and_bound():
    assert verdict(0.6, 0.9, 0.5, above=True) == SHOWN
    assert verdict(0.4, 0.9, 0.5, above=True) == OPEN
    assert verdict(0.1, 0.4, 0.5, above=True) == OPPOSITE
    assert verdict(-0.3, -0.1, 0, above=False) == SHOWN
    assert verdict(-0.3, 0.1, 0, above=False) == OPEN
    assert verdict(0.1, 0.3, 0, above=False) == OPPOSITE
    assert verdict(math.nan, math.nan, 0, above=True) == OPEN


def test_claims_follow_from_the_tables(run):
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in (*NEEDED, "truth")}
    found = {one.text: one for one in claims(tables, 1.5)}
    assert found[OWN].verdict == SHOWN
    assert found["The autoencoder reproduces unseen scans"].verdict == SHOWN
    trip = found["Inverting and decoding by DDIM loses next to nothing"]
    assert (trip.criterion, trip.verdict) == ("> 0.99", SHOWN) and "T = 50" in trip.measure
    auroc = found["y_sem tells AD from CN, linearly"]
    assert (auroc.found, auroc.paper, auroc.verdict) == ("0.830 [0.730, 0.930]", "0.895", SHOWN)
    assert found["For the diagnosis, y_sem beats an untrained encoder"].verdict == OPEN
    assert found["y_sem predicts age better than guessing the mean age"].verdict == SHOWN
    assert found["Manipulation AD → CN makes the ventricles smaller"].verdict == SHOWN
    assert found["A missing visit is predicted better than by the nearest visit"].verdict == SHOWN
    assert "refuted" not in tally(list(found.values()))
    gaps = tables["reconstruction_controls"]
    gaps.loc[gaps["comparison"] == "y_sem - wrong_y_sem", ["ci_low", "ci_high"]] = [-0.2, -0.1]
    changed = {one.text: one for one in claims(tables, 1.5)}
    assert changed[OWN].verdict == OPPOSITE
    assert "1 is refuted" in tally(list(changed.values()))


def test_claims_cover_counterfactuals_and_extrapolation(run):
    names = (*NEEDED, "truth", "counterfactual_differences", "extrapolation_differences")
    names += ("visit_correction",)
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in names}
    found = {one.text: one for one in claims(tables, 1.5)}
    nearer = "A scan moved AD → CN is nearer to its true counterfactual than by leaving it"
    assert found[nearer].verdict == SHOWN and "α = 2" in found[nearer].measure
    assert found[nearer].found == "−0.009989 [−0.009996, −0.009983]"
    assert found["The next visit is predicted better than by the last one"].verdict == SHOWN
    corrected = "The next visit is predicted by an average that the code corrects better than by "
    assert found[f"{corrected}the mean of the visits so far"].verdict == SHOWN
    behind = "A missing visit is predicted by an average that the code corrects better than by "
    assert found[f"{behind}latent LERP, judged by the scan itself"].verdict == SHOWN
    # Counterfactuals, truth, next visits by the LDAE; in three measures, next and missing ones by
    # corrected averages.
    more = len(found) - len(claims({name: tables[name] for name in NEEDED}, 1.5))
    assert more == 4 + 2 + 1 + 3 * 3 + 3


def test_average_that_is_not_corrected_has_no_claim(run):
    names = (*NEEDED, "extrapolation_differences", "visit_correction")
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in names}
    choice = tables["visit_correction"]
    for study, text in (("interpolation", "A missing visit"), ("extrapolation", "The next visit")):
        none = choice["strength"] == 0
        chosen = choice["chosen"].where(choice["study"] != study, none)
        texts = [
            one.text
            for one in claims(tables | {"visit_correction": choice.assign(chosen=chosen)}, 1.5)
            if "the code corrects" in one.text
        ]
        assert texts and not [one for one in texts if one.startswith(text)]
    rows = corrections(choice).rows
    assert rows[0][:4] == ["a missing visit", "none", "–", "–"] and rows[0][-1] == ""
    assert rows[3][:4] == ["the next visit", "1", "25%", "599"] and rows[3][-1] == "yes"
    assert "visit_correction" in next(names for key, _, names in SECTIONS if key == "interpolation")


def test_claims_ask_what_the_proof_asks(run):
    """Baselines and bounds of the proof's thresholds; the oracle's share by a margin."""
    names = (*NEEDED, "truth", "manipulation_trends")
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in names}
    probes, gaps = tables["probes"], tables["probes_differences"]
    oracle = probes[(probes["system"] == "untrained") & (probes["metric"] == "auroc")]
    tables["probes"] = pd.concat([probes, oracle.assign(system="oracle", value=0.9)])
    gap = gaps[(gaps["reference"] == "untrained") & (gaps["metric"] == "auroc")]
    near = gap.assign(reference="oracle", difference=-0.05, ci_low=-0.08, ci_high=0.01)
    tables["probes_differences"] = pd.concat([gaps, near])
    table = pd.DataFrame([{"system": "ldae", "variant": "y_sem", "T": 50.0, "r": 0.9}])
    volumes = table.assign(measure="ventricle_ml", ci_low=0.85, ci_high=0.95, n_subjects=4)
    found = {one.text: one for one in claims(tables | {"reconstruction_volumes": volumes}, 1.5)}
    for text in (
        "For the diagnosis, y_sem beats PCA of the AE latents",
        "For the diagnosis, y_sem beats age and sex",
        "For the age, y_sem beats sex",
        "A missing visit is predicted better than by a voxel average",
        "A missing visit is predicted better than by latent LERP",
        "It knows more of it than an untrained encoder",
    ):
        assert text in found
    share = found["For the diagnosis, y_sem reaches 90 % of the true volumes"]
    assert (share.criterion, share.verdict) == ("> −0.09", SHOWN)
    followed = found["Ventricles change the expected way with every step of α, AD → CN"]
    assert followed.criterion == "> 0.80" and followed.verdict == SHOWN
    assert found["An image decoded from y_sem has the scan's ventricle volume"].verdict == SHOWN
    text = "A missing visit is predicted better than by latent LERP, judged by the scan itself"
    assert found[text].measure.startswith("SSIM to the scan of the visit")


def test_image_quality_on_a_coarser_grid_is_not_refuted(run):
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in NEEDED}
    table = tables["reconstruction"]
    mine = (table["system"] == "autoencoder") & (table["metric"] == "ssim")
    table.loc[mine, ["value", "ci_low", "ci_high"]] = [0.7, 0.69, 0.71]

    def verdict_of(full_size):
        found = claims(tables, 1.5, full_size)
        return next(one.verdict for one in found if one.text.startswith("The autoencoder"))

    assert verdict_of(True) == OPPOSITE and verdict_of(False) == OPEN
    assert str(Criterion(0.85)) == "> 0.85" and str(Criterion(above=False)) == "< 0"


def test_summary_says_each_claim_with_its_verdict(run):
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in NEEDED}
    table, gaps = tables["probes"], tables["probes_differences"]
    mine = (table["target"] == "diagnosis") & (table["metric"] == "auroc")
    auroc = mine & (table["system"] == "ldae")

    def sentence(low, high):
        table.loc[auroc, ["ci_low", "ci_high"]] = low, high
        lines = sentences(claims(tables, 1.5))
        questions = ["reconstruction", "diagnosis", "age", "manipulation", "visits"]
        assert [line.question for line in lines] == questions
        return lines[1]

    shown = sentence(0.73, 0.93)
    assert shown.verdict == SHOWN and shown.table == "probes"
    assert shown.text == (
        "y_sem tells AD from CN, linearly: AUROC 0.830 [0.730, 0.930]; not shown better than an "
        "untrained encoder 0.700, PCA of the AE latents 0.800 and age and sex 0.600 (12 scans, 4 "
        "subjects)."
    )
    assert sentence(0.4, 0.93).text.startswith("Not shown at this size that y_sem tells AD from CN")
    assert sentence(0.3, 0.4).text.startswith("y_sem ranks AD and CN the wrong way round")
    compared = (gaps["metric"] == "auroc") & (gaps["target"] == "diagnosis")
    for other, low, high in (("untrained", 0.1, 0.3), ("age_sex", -0.3, -0.1)):
        gaps.loc[compared & (gaps["reference"] == other), ["ci_low", "ci_high"]] = low, high
    text = sentence(0.73, 0.93).text
    assert "; better than an untrained encoder 0.700; not shown better than PCA" in text
    assert "0.800; worse than age and sex 0.600 (" in text


def test_summary_says_that_two_measures_disagree_and_what_the_correction_gains(run):
    names = (*NEEDED, "extrapolation_differences", "visit_correction")
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in names}
    gaps = tables["interpolation_differences"]
    mine = (gaps["method"] == "ldae") & (gaps["reference"] == "voxel_average")

    def sentence(to_image, to_scan):
        for metric, ends in (("ssim_to_ae", to_image), ("ssim", to_scan)):
            gaps.loc[mine & (gaps["metric"] == metric), ["ci_low", "ci_high"]] = ends
        return next(line for line in sentences(claims(tables, 1.5)) if line.question == "visits")

    disputed = sentence((-0.3, -0.1), (0.1, 0.3))
    assert disputed.verdict == OPEN
    assert disputed.text.startswith("Two measures disagree on whether a missing visit is predicted")
    agreed = sentence((-0.3, -0.1), (-0.3, -0.1))
    assert agreed.verdict == OPPOSITE
    assert agreed.text.startswith("A missing visit is predicted worse than by a voxel average")
    assert "; by an average that the code corrects less latent LERP, SSIM to" in agreed.text
    assert "; the next visit by an average that the code corrects less the mean" in agreed.text
    assert "disputed" not in agreed.text
    mine = (gaps["method"] == "ldae") & (gaps["reference"] == "latent_lerp")
    assert "; disputed against latent LERP" in sentence((-0.3, -0.1), (0.1, 0.3)).text


def test_manipulation_claim_uses_the_nearest_strength(run):
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in NEEDED}
    rows = tables["manipulation"]
    text = "Manipulation CN → AD makes the ventricles larger"

    def claim_at(alpha):
        return next(one for one in claims(tables, alpha) if one.text == text)

    nearest, exact = claim_at(1.5), claim_at(5)
    assert nearest.found == "1.00 [0.80, 1.20]" and "α = 2 less α = 0" in nearest.measure
    assert "(at the largest, 5: 2.50 [2.30, 2.70])" in nearest.measure
    assert "is monotone over α = 0 to 5" in nearest.measure
    assert exact.found == "2.50 [2.30, 2.70]" and "largest" not in exact.measure
    assert "α = 2 less" in claim_at(0.1).measure  # never α = 0 itself
    worst = (rows["direction"] == "CN to AD") & (rows["alpha"] == 5)
    rows.loc[worst, ["value", "ci_low", "ci_high"]] = [-1.0, -2.0, -0.5]
    assert claim_at(1.5).verdict == SHOWN and claim_at(5).verdict == OPPOSITE
    assert "not monotone over α = 0 to 5: it turns back at α = 2" in claim_at(1.5).measure
