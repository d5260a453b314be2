"""True counterfactuals of synthetic scans, and the comparison of manipulated scans with them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from helpers.models import CFG, SHAPE, SPACING
from ldae.data.volume_store import VolumeStore
from ldae.derivatives import ScanFiles
from ldae.errors import UserError
from ldae.evaluation.metrics.volumes import Regions
from ldae.files import read_table
from ldae.ground_truth import counterfactual, counterfactual_tables
from ldae.ground_truth.counterfactual_heads import (
    FixedPreprocessing,
    ScanPair,
    chosen_scans,
    correction,
    like_native,
    make_counterfactuals,
    make_scan_pair,
)
from ldae.preprocess._ants import ants
from ldae.synthetic.download import make_subject
from ldae.synthetic.subjects import STAGE, draw_cohort, draw_subject

SEED, EDGE = 3, 6.0
VOLUMES = {"spacing": 6.0, "shape": [40, 44, 40], "interpolation": "bspline", "antialias": False}
AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
AFFINE[:3, 3] = -SPACING * (np.array(SHAPE) - 1) / 2


@pytest.fixture(scope="module")
def pair() -> ScanPair:
    """The first visit of a CN subject, and the same visit with AD."""
    subject = draw_subject(SEED, 0, 2)
    return make_scan_pair(subject, subject.visits[0], "AD", SEED, EDGE)


def test_atrophy_course_of_the_own_stage_equals_the_drawn_visit():
    for subject in draw_cohort(10, 3, 1):
        for visit in subject.visits:
            same = subject.course.atrophy(STAGE[subject.group], subject.years(visit))
            assert same == visit.atrophy
    healthy = draw_subject(1, 0, 3)
    other = healthy.course.atrophy(STAGE["AD"], 0.0)
    assert other.ventricle_ml > healthy.visits[0].atrophy.ventricle_ml
    assert other.hippocampus_ml < healthy.visits[0].atrophy.hippocampus_ml


def test_scan_pair_reproduces_the_downloaded_scan(pair, tmp_path):
    subject = draw_subject(SEED, 0, 2)
    truth = make_subject(subject, SEED, EDGE, tmp_path)
    image = nib.load(next(tmp_path.rglob("*.nii")))  # ADNI1: the first visit is a processed NIfTI
    np.testing.assert_array_equal(like_native(pair.factual, image), np.asarray(image.dataobj))
    assert pair.before.truth()["ventricle_ml"] == pytest.approx(truth[0]["ventricle_ml"])
    before, after = pair.before.truth(), pair.after.truth()
    assert after["ventricle_ml"] > 1.3 * before["ventricle_ml"]
    assert after["hippocampus_ml"] < before["hippocampus_ml"]
    assert after["intracranial_ml"] == pytest.approx(before["intracranial_ml"], rel=0.03)
    turned = nib.as_closest_canonical(image)
    np.testing.assert_array_equal(like_native(pair.factual, turned), np.asarray(turned.dataobj))
    with pytest.raises(UserError, match="not the truth of this cohort"):
        like_native(pair.factual, image.slicer[1:])


def test_bias_correction_is_recovered_also_at_dark_voxels():
    raw = np.full((6, 6, 6), 100.0, np.float32)
    field = np.broadcast_to(np.linspace(0.8, 1.2, 6, dtype=np.float32), raw.shape)
    raw[2, 2, 2] = 0
    found = correction(raw * field, raw)
    np.testing.assert_allclose(np.delete(found.ravel(), 86), np.delete(field.ravel(), 86), 1e-6)
    assert found[2, 2, 2] == pytest.approx(field[2, 2, 2], abs=0.09)


def test_fixed_preprocessing_reproduces_the_registered_brain(pair, tmp_path):
    image = nib.as_closest_canonical(nib.Nifti1Image(pair.factual.array, pair.factual.affine))
    native = tmp_path / "native.nii.gz"
    nib.save(image, native)
    files = ScanFiles("sub-1_ses-M000", Path("native.nii.gz"), tmp_path, "T")
    raw = like_native(pair.factual, image)
    nib.save(nib.Nifti1Image(raw * 0.5, image.affine), files.n4)
    mask = (raw > 100).astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, image.affine), files.mask)
    central = np.zeros(raw.shape, np.uint8)
    central[8:-8, 8:-8, 8:-8] = mask[8:-8, 8:-8, 8:-8]
    nib.save(nib.Nifti1Image(central, image.affine), files.mask)
    shift = ants.create_ants_transform(transform_type="AffineTransform", dimension=3)
    ants.write_transform(shift, str(files.transform))
    nib.save(nib.Nifti1Image(raw * 0.5 * central, image.affine), files.registered_brain)
    preprocessing = FixedPreprocessing(files, native, raw, VOLUMES)
    factual, atrophied = preprocessing(raw), preprocessing(like_native(pair.counterfactual, image))
    assert factual.shape == atrophied.shape == (1, *VOLUMES["shape"])
    stored = preprocessing.transform(files.registered_brain)[0]
    assert (factual / factual.max() - stored).abs().mean() < 0.005
    assert (atrophied - factual).abs().max() > 0.05 * factual.max()


def test_counterfactuals_need_a_synthetic_download(tmp_path):
    with pytest.raises(UserError, match=r"synthetic.json is missing"):
        make_counterfactuals(
            [tmp_path / "truth.tsv"], "", "", "", "", "", template="T", volumes_cfg=VOLUMES, cfg=CFG
        )


def case(truth: torch.Tensor, start: torch.Tensor) -> counterfactual.Case:
    return counterfactual.Case(start, truth, start, truth)


def test_compare_scores_perfect_unchanged_and_opposite_counterfactuals():
    regions = Regions.on(AFFINE, SHAPE)
    noise = torch.rand(2, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    start = 0.6 + 0.2 * noise
    truth = torch.where(regions.ventricles > 0, 0.1, start)
    perfect = counterfactual.compare(truth, start, case(truth, start), regions)
    for region in counterfactual.REGIONS:
        assert (perfect[region, "mse"] == 0).all()
        np.testing.assert_allclose(perfect[region, "ssim"], 1, atol=1e-5)
    np.testing.assert_allclose(perfect["brain", "change_correlation"], 1, atol=1e-6)
    assert perfect["elsewhere", "change_correlation"].isnan().all()  # nothing changes there
    assert (perfect["brain", "ventricle_change"] > 100).all()
    unchanged = counterfactual.compare(start, start, case(truth, start), regions)
    assert (unchanged["ventricles", "mse"] > 0.1).all()
    assert (unchanged["elsewhere", "mse"] == 0).all()
    assert (unchanged["brain", "ventricle_change"] == 0).all()
    opposite = counterfactual.compare(2 * start - truth, start, case(truth, start), regions)
    np.testing.assert_allclose(opposite["brain", "change_correlation"], -1, atol=1e-6)


def test_counterfactual_tables(project, system, probe_outputs):
    store, out = VolumeStore(project / "volumes"), project / "counterfactual"
    chosen = chosen_scans(store, CFG)
    assert chosen["target"].tolist() == ["CN", "CN", "AD", "AD"]
    volumes = store.volumes(chosen.index.to_numpy()).numpy()  # in this truth nothing changes
    np.savez(
        project / "truth.npz",
        volumes=volumes,
        **{name: chosen[name].to_numpy(str) for name in ("scan_id", "source", "target")},
    )
    paths = [out / name for name in ("scans.tsv", "table.tsv", "differences.tsv", "examples.npz")]
    counterfactual.evaluate_counterfactual(
        system,
        project / "volumes",
        project / "ldae.npz",
        probe_outputs / "classifier.npz",
        probe_outputs / "age_regressor.npz",
        project / "truth.npz",
        *paths,
        CFG,
        0,
    )
    scans, table, gaps = (read_table(path) for path in paths[:3])
    methods = {"none", "plain", "orthogonal", "random", "true_code", "autoencoder", "truth"}
    assert set(scans["method"]) == methods
    assert set(scans["alpha"].dropna()) == {1.0, 1.5}
    errors = table[table["metric"] == "mse"].set_index(["direction", "region", "method"])["value"]
    assert (errors.xs("truth", level="method") == 0).all()
    assert (errors.xs("none", level="method") > 0).all()
    ceiling = table[(table["method"] == "autoencoder") & (table["metric"] == "mse_to_ae")]
    assert (ceiling["value"] == 0).all()
    gap = gaps[(gaps["reference"] == "random") & (gaps["metric"] == "mse")].iloc[0]
    wide = scans[
        (scans["direction"] == gap["direction"])
        & (scans["region"] == gap["region"])
        & (scans["metric"] == "mse")
        & (scans["alpha"] == gap["alpha"])
    ].pivot(index="scan_id", columns="method", values="value")
    expected = (wide[gap["method"]] - wide["random"]).mean()
    assert gap["difference"] == pytest.approx(expected, rel=1e-2, abs=3e-6)
    assert set(gaps["reference"]) == {"none", "random"}
    with np.load(paths[3]) as file:
        assert file["counterfactual"].shape == (2, *SHAPE)
        assert file["target"].tolist() == ["CN", "AD"]


def test_counterfactual_differences_are_paired_and_signed():
    rows = [
        {"scan_id": s, "participant_id": s, "direction": "CN to AD", "method": m, "alpha": a}
        | {"region": "brain", "metric": "mse", "value": v + i / 10}
        for i, s in enumerate("abc")
        for m, a, v in (("none", np.nan, 0.5), ("plain", 1.0, 0.4), ("random", 1.0, 0.7))
    ]
    found = counterfactual_tables.differences(pd.DataFrame(rows), 50, 0)
    random = found[found["method"] == "random"].set_index("reference")
    assert random["difference"].to_dict() == {"none": pytest.approx(0.2)}
    assert (random["n_better"] == 0).all()
    found = found[found["method"] == "plain"].set_index("reference")
    assert found.loc["none", "difference"] == pytest.approx(-0.1)
    assert found.loc["none", "ci_low"] == pytest.approx(-0.1)
    assert found.loc["random", "difference"] == pytest.approx(-0.3)
    assert (found["n_better"] == 3).all()
