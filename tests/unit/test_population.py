"""Preprocessed synthetic cohort: population, scans and counterfactuals."""

import hashlib
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from ldae.derivatives import ScanFiles
from ldae.errors import UserError
from ldae.files import read_json, read_table
from ldae.ground_truth.counterfactual_brains import brain_pair
from ldae.preprocess.image_io import write_image
from ldae.preprocess.preprocessed_input import read_brain
from ldae.synthetic.appearance import draw_style, vary_style
from ldae.synthetic.brains import draw_brain, draw_pose
from ldae.synthetic.population import draw_population
from ldae.synthetic.preprocessed import make_preprocessed

COHORT = {"subjects": 2, "visits": 2, "spacing": 6.0, "seed": 37}
VOLUMES = {"spacing": 6.0, "shape": [28, 34, 28], "interpolation": "bspline", "antialias": True}


@pytest.fixture(scope="module")
def people():
    return draw_population(500, 5, 1)


@pytest.fixture(scope="module")
def visits(people):
    return pd.DataFrame(
        {
            "person": person.index,
            "male": person.sex == "M",
            "site": person.site,
            "diagnosis": visit.diagnosis,
            "age": visit.age,
            "pathology": visit.pathology,
            "log_ventricle": np.log(visit.atrophy.ventricle_ml),
            "hippocampus": visit.atrophy.hippocampus_ml,
        }
        for person in people
        for visit in person.visits
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_preprocessed(tmp_path_factory.mktemp("cohort") / "made", **COHORT, template="T")


def auroc(visits, columns):
    """AUROC of AD against CN on every third person, by logistic regression on the others."""
    known = visits[visits["diagnosis"] != "MCI"]
    held_out = (known["person"] % 3 == 0).to_numpy()
    ill = (known["diagnosis"] == "AD").to_numpy()
    x = StandardScaler().fit(known[columns][~held_out]).transform(known[columns])
    model = LogisticRegression().fit(x[~held_out], ill[~held_out])
    return roc_auc_score(ill[held_out], model.decision_function(x[held_out]))


def test_smaller_population_is_a_prefix_of_a_larger_one(people):
    assert draw_population(3, 5, 1) == people[:3]
    assert draw_population(3, 5, 2) != people[:3]
    with pytest.raises(UserError, match="between 2 and 5, not 6"):
        draw_population(3, 6, 1)


def test_diagnosis_is_predicted_well_by_atrophy_and_poorly_by_age(visits):
    both = auroc(visits, ["log_ventricle", "hippocampus"])
    assert 0.85 < both < 0.96
    for one in ("log_ventricle", "hippocampus"):
        assert 0.75 < auroc(visits, [one]) < both - 0.01
    assert auroc(visits, ["age", "male"]) < 0.68
    healthy = visits[visits["diagnosis"] == "CN"]
    assert 0.3 < healthy["age"].corr(healthy["log_ventricle"]) < 0.8
    middle = visits.loc[visits["diagnosis"] == "AD", "log_ventricle"].median()
    assert (healthy["log_ventricle"] > middle).mean() > 0.03  # wide ventricles without disease
    sites = pd.get_dummies(visits["site"]).assign(
        person=visits["person"], diagnosis=visits["diagnosis"]
    )
    assert 0.5 < auroc(sites, list(range(10))) < 0.68


def test_disease_progresses_and_nobody_recovers(people):
    assert sum(len(person.visits) >= 4 for person in people) > 100
    order = {"CN": 0, "MCI": 1, "AD": 2}
    for person in people:
        months = [visit.months for visit in person.visits]
        assert months[0] == 0
        assert months == sorted(set(months))
        for before, after in zip(person.visits, person.visits[1:], strict=False):
            assert after.pathology > before.pathology
            assert order[after.diagnosis] >= order[before.diagnosis]
            assert after.atrophy.hippocampus_ml <= before.atrophy.hippocampus_ml


def test_counterfactual_diagnosis_shifts_atrophy_of_the_same_person(people):
    for person in people[:50]:
        visit = person.visits[0]
        assert person.counterfactual_atrophy(visit, visit.diagnosis) == visit.atrophy
        if visit.diagnosis == "CN":
            assert (
                person.counterfactual_atrophy(visit, "AD").ventricle_ml > visit.atrophy.ventricle_ml
            )


def test_preprocessed_cohort_stores_scans_and_separate_truth(folder, tmp_path):
    truth = read_table(folder / "truth.tsv").set_index(["participant_id", "session_id"])
    scans = sorted((folder / "scans").rglob("*_space-T_desc-brain_T1w.nii.gz"))
    assert len(scans) == len(truth) == 4
    assert read_json(folder / "synthetic.json")["kind"] == "preprocessed"
    sessions = read_table(folder / "scans/sessions.tsv")
    assert {"age", "diagnosis", "mmse", "cdr_global", "field_strength"} <= set(sessions)
    assert not set(sessions) & {"atrophy", "pathology", "ventricle_ml"}
    for path in scans:
        image, mask = (nib.load(str(path).replace("T1w", s)) for s in ("T1w", "mask"))
        values, inside = np.asarray(image.dataobj), np.asarray(mask.dataobj) > 0
        assert (values[~inside] == 0).all()
        of_scan = truth.loc[tuple(path.name.split("_")[:2])]
        volume = inside.sum() * 6.0**3 / 1000
        assert volume == pytest.approx(of_scan["intracranial_ml"], rel=0.15)
    again = make_preprocessed(tmp_path / "again", **COHORT | {"subjects": 1}, template="T", jobs=2)
    assert len(read_table(again / "truth.tsv")) == 2
    for path in scans[:2]:
        other = again / path.relative_to(folder)
        assert (
            hashlib.sha256(path.read_bytes()).digest()
            == hashlib.sha256(other.read_bytes()).digest()
        )


def test_brain_pair_reproduces_the_scan_and_changes_only_anatomy(folder, tmp_path):
    """The second visit: with the other pathology, ventricles and hippocampus change."""
    truth = read_table(folder / "truth.tsv")
    row = truth.iloc[-1]
    name = f"{row['participant_id']}_{row['session_id']}"
    stored = next((folder / "scans").rglob(f"{name}_space-T_desc-brain_T1w.nii.gz"))
    brain, _ = read_brain(stored, stored.with_name(stored.name.replace("T1w", "mask")))
    files = ScanFiles(name, stored, tmp_path, "T")
    write_image(brain, files.registered_brain)  # already on the target grid
    target = "CN" if row["diagnosis"] != "CN" else "AD"
    row = row.to_dict() | {"target": target}
    pair = brain_pair(
        COHORT | {"variation": 1.0},
        int(row["subject_index"]),
        pd.Series(row),
        files,
        tmp_path,
        VOLUMES,
    )
    assert pair.again.shape == pair.other.shape == (1, *VOLUMES["shape"])
    assert float(pair.again.sum()) == pytest.approx(float(brain.sum()), rel=1e-3)
    assert pair.before == pytest.approx([row["ventricle_ml"], row["hippocampus_ml"]], rel=1e-6)
    sign = 1 if target == "AD" else -1
    assert sign * (pair.after[0] - pair.before[0]) > 0
    assert sign * (pair.after[1] - pair.before[1]) < 0
    change = (pair.other - pair.again).abs()
    assert 0 < float((change > 5).float().mean()) < 0.2  # of 200: the noise is the same
    # two people differ far more than one person with and without the disease
    other = next(s for s in stored.parents[3].rglob("*_T1w.nii.gz") if name[:11] not in s.name)
    between = nib.load(other).get_fdata() - nib.load(stored).get_fdata()
    assert np.square(between).mean() > 8 * float(change.square().mean())


def test_without_variation_machines_poses_and_shapes_are_the_same(people):
    first, second = people[:2]
    styles = [draw_style(1, site, machine, 0.0) for site, machine in ((0, 0), (3, 1))]
    assert styles[0].noise == styles[0].bias == 0 and styles[0].gamma == 1
    assert replace(styles[0], field_strength=0) == replace(styles[1], field_strength=0)
    assert vary_style(styles[0], np.random.default_rng(1), 0.0) == styles[0]
    poses = [draw_pose(person, person.visits[0], 1, 0.0) for person in (first, second)]
    np.testing.assert_array_equal(*poses)
    still, bent = (draw_brain(first, 1, variation) for variation in (0.0, 1.0))
    assert still.anatomy.shape.abs().max() == 0 < bent.anatomy.shape.abs().max()
