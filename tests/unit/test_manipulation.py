"""Manipulation: direction variants, brain regions, measures, and trends over strength."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.models import CFG, DIM, SHAPE, SPACING
from ldae.errors import UserError
from ldae.evaluation import examples, manipulation
from ldae.evaluation.manipulation_tables import MEASURES, trends
from ldae.evaluation.metrics.volumes import HIPPOCAMPI, VENTRICLES, Regions, soft_volumes
from ldae.evaluation.probes.direction import MODES, VARIANTS, Direction, LinearModel
from ldae.files import read_table

AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
AFFINE[:3, 3] = -SPACING * (np.array(SHAPE) - 1) / 2


@pytest.fixture(scope="module")
def tables(system, project, probe_outputs) -> list[pd.DataFrame]:
    """Scans, table and trends of the manipulation."""
    out = project / "manipulation"
    paths = [out / name for name in ("scans.tsv", "table.tsv", "trends.tsv")]
    probes = (probe_outputs / "classifier.npz", probe_outputs / "age_regressor.npz")
    inputs = (system, project / "volumes", project / "ldae.npz", *probes)
    manipulation.evaluate_manipulation(*inputs, *paths, CFG, 0)
    return [read_table(path) for path in paths]


def codes() -> torch.Tensor:
    return torch.randn(3, DIM, generator=torch.Generator().manual_seed(0))


def test_direction_move_is_identity_at_zero_and_linear_in_the_logit(probe_outputs):
    direction, y = Direction.load(probe_outputs / "classifier.npz"), codes()
    for mode in MODES:
        assert torch.equal(direction.move(y, 0.0, mode), y)
    one, two = (direction(direction.move(y, a, "normalised")) - direction(y) for a in (1, 2))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-3)
    np.testing.assert_allclose(one, direction.w.norm().item() * DIM**0.5, rtol=1e-3)
    step = ((direction.move(y, 1.0, "normalised") - y) / direction.std).norm(dim=1)
    np.testing.assert_allclose(step, DIM**0.5, rtol=1e-4)
    with np.load(probe_outputs / "classifier.npz") as file:
        raw = direction.move(y, -1.0, "raw") - y
        np.testing.assert_allclose(raw, -np.tile(file["w_raw"], (3, 1)), atol=1e-6)
    with pytest.raises(UserError, match="mode"):
        direction.move(y, 1.0, "other")


@pytest.mark.parametrize("mode", MODES)
def test_direction_variants_have_equal_length_and_orthogonal_keeps_age(probe_outputs, mode):
    direction = Direction.load(probe_outputs / "classifier.npz")
    age, y = LinearModel.load(probe_outputs / "age_regressor.npz"), codes().double()
    variants = direction.variants(age, mode, ["a", "b", "c"], 0)
    assert tuple(variants) == VARIANTS
    scale = direction.std if mode == "normalised" else 1.0
    lengths = torch.stack([(step / scale).norm(dim=1) for step in variants.values()])
    np.testing.assert_allclose(lengths, lengths[0, 0].item() * np.ones((3, 3)), rtol=1e-9)
    change = {name: age(y + 3 * step) - age(y) for name, step in variants.items()}
    np.testing.assert_allclose(change["orthogonal"], 0, atol=1e-8)
    assert change["plain"].abs().min() > 1e-3
    assert (direction(y + variants["orthogonal"]) > direction(y)).all()
    drawn = variants["random"]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[1], direction.variants(age, mode, ["b"], 0)["random"][0])
    with pytest.raises(UserError, match="same direction"):
        direction.variants(
            LinearModel(direction.mean, direction.std, 2 * direction.w, 0.0), mode, [], 0
        )


def test_regions_cover_ventricles_and_hippocampi():
    for spacing in (1.5, 5.0):
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = (-90, -120, -70)
        shape = tuple(int(200 / spacing) for _ in range(3))
        regions = Regions.on(affine, shape)
        volume = np.prod([high - low for low, high in VENTRICLES]) / 1000
        assert regions.ventricles.sum() * regions.voxel_ml == pytest.approx(volume, rel=0.02)
        place = np.argwhere(regions.hippocampus.numpy() > 0.5) * spacing + affine[:3, 3]
        right = place[place[:, 0] > 0].mean(0)
        np.testing.assert_allclose(right, HIPPOCAMPI[1], atol=5)
        front, back = place[place[:, 1] > -15], place[place[:, 1] < -25]
        assert front[:, 2].mean() < back[:, 2].mean()  # its long axis falls forwards
        parts = regions.ventricles + regions.hippocampus
        assert parts.max() <= 1 + 1e-6
        assert (regions.elsewhere * parts).sum() == 0
    with pytest.raises(UserError, match="do not lie in the volumes"):
        Regions.on(affine, (20, 20, 20))


def test_soft_volumes_count_partial_voxels():
    regions = Regions.on(AFFINE, SHAPE)
    base = torch.full((1, 1, *SHAPE), 0.8)
    before = soft_volumes(base, base, regions)
    assert before["ventricle_ml"].item() == 0
    ml = (regions.hippocampus.sum() * regions.voxel_ml).item()
    assert before["hippocampus_ml"].item() == pytest.approx(ml)
    for level, fraction in ((0.8 * 0.35, 1.0), (0.8 * 0.6, 0.5), (0.8 * 0.85, 0.0)):
        image = base.clone()
        image[..., 7, 7, 8] = level  # 12 mm wide, within the ventricles' box
        grown = soft_volumes(image, base, regions)["ventricle_ml"]
        assert grown.item() == pytest.approx(fraction * 12**3 / 1000, abs=1e-4)
    for level in (0.1, 0.8 * 1.3):  # lost to fluid, or to white matter
        lost = soft_volumes(torch.full_like(base, level), base, regions)["hippocampus_ml"]
        assert lost.item() == pytest.approx(0, abs=1e-4)


def test_manipulation_measure_detects_ventricles_and_change_elsewhere():
    regions = Regions.on(AFFINE, SHAPE)
    noise = torch.rand(1, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    base = 0.7 + 0.2 * noise
    wider = torch.where(regions.ventricles > 0, 0.1, base)
    other = 0.7 + 0.2 * noise.flip(2)
    still, grown, changed = (manipulation.measure(x, base, regions) for x in (base, wider, other))
    assert still["ssim_elsewhere"].item() == pytest.approx(1)
    assert grown["ventricle_ml"] > 100 + still["ventricle_ml"]
    assert grown["ssim_to_unmanipulated"].item() < 0.95
    assert changed["ssim_elsewhere"].item() < grown["ssim_elsewhere"].item()


def test_manipulation_tables(tables):
    scans, table, found = tables
    assert len(scans) == 2 * 3 * 2 * 2  # contrasts, variants, scans, alphas
    still = scans[scans["alpha"] == 0]
    np.testing.assert_allclose(still["ssim_to_unmanipulated"], 1, atol=1e-5)
    assert (still["sex_kept"] == 1).all()
    moved = scans[scans["alpha"] == 1].set_index(["way", "scan_id"])
    still = still.set_index(["way", "scan_id"])
    change = moved[["logit_asked", "age_asked"]] - still[["logit_asked", "age_asked"]]
    plain = change.loc["plain"]
    towards = still.loc["plain"]["direction"]
    assert ((plain["logit_asked"] > 0) == (towards == "CN to AD")).all()
    np.testing.assert_allclose(change.loc["orthogonal"]["age_asked"], 0, atol=2e-4)
    assert (change.loc["random"]["logit_asked"].abs() < plain["logit_asked"].abs() / 3).all()
    assert set(table["metric"]) == {*MEASURES, *(f"change_{name}" for name in MEASURES)}
    nothing = table[(table["alpha"] == 0) & table["metric"].str.startswith("change_")]
    assert (nothing["value"] == 0).all()
    row = table[(table["metric"] == "change_age_decoded") & (table["alpha"] == 1)].iloc[0]
    mine = change.assign(
        age=moved["age_decoded"] - still["age_decoded"], direction=still["direction"]
    ).loc[row["way"]]
    expected = mine.loc[mine["direction"] == row["direction"], "age"].mean()
    assert row["value"] == pytest.approx(expected, abs=1e-4)
    assert set(found["way"]) == set(VARIANTS)


def test_manipulation_trends_compare_signs_with_the_disease():
    rows = [
        {"scan_id": scan, "participant_id": scan, "direction": direction, "way": "plain"}
        | {"alpha": alpha, "ventricle_ml": 20 + size * alpha, "hippocampus_ml": 7.0}
        | {"logit_decoded": (0.0, 2.0, 1.0)[int(alpha)] * size}
        for direction, size in (("AD to CN", -1), ("CN to AD", 1))
        for scan in "abc"
        for alpha in (0.0, 1.0, 2.0)
    ]
    table = trends(pd.DataFrame(rows), "AD", 50, 0)
    table = table.set_index(["measure", "statistic", "direction"])["value"].unstack()
    for direction in ("AD to CN", "CN to AD"):
        mine = table[direction]
        assert mine["ventricle_ml"].tolist() == [1, 1, 1]
        assert (mine["hippocampus_ml"] == 0).all()  # nothing changes
        assert mine["logit_decoded", "spearman"] == pytest.approx(0.5)
        assert mine["logit_decoded", "monotone"] == 0
        assert mine["logit_decoded", "known_sign"] == 1


def test_manipulation_probes_omit_sex_if_all_scans_are_of_one_sex(
    system, project, probe_outputs, caplog
):
    store = system.volume_store(project / "volumes")
    store.index["sex"] = "M"
    probes = (probe_outputs / "classifier.npz", probe_outputs / "age_regressor.npz")
    loaded = manipulation.Probes.load(*probes, system, store, project / "ldae.npz", 3, 0)
    assert loaded.sex is None
    assert "no probe of sex" in caplog.text
    image = store.volumes(np.arange(2))
    assert manipulation.judge(system, loaded, codes()[:2], image, image)["sex_kept"].isnan().all()


def test_examples_have_the_arrays_that_figures_read(system, project, probe_outputs):
    out = project / "examples"
    inputs = (system, project / "volumes", project / "ldae.npz")
    subjects = {"CN": None, "AD": "sub-04"}
    examples.reconstruction_examples(*inputs, out / "rec.npz", CFG, subjects, 2)
    with np.load(out / "rec.npz") as file:
        assert file["samples"].shape == (2, 2, *SHAPE)
        assert file["participant_id"].tolist() == ["sub-00", "sub-04"]
        assert (file["samples"][0, 0] != file["samples"][0, 1]).any()
    files = [out / name for name in ("examples.npz", "to_cn.npz", "to_ad.npz")]
    classifier = probe_outputs / "classifier.npz"
    manipulation.manipulation_examples(*inputs, classifier, *files, CFG, subjects)
    with np.load(files[0]) as file:
        assert file["source"].tolist() == ["AD", "CN"]
        assert file["manipulated"].shape == (2, *SHAPE)
        assert (file["manipulated"] != file["reconstruction"]).any()
        plain = file["reconstruction"][0]
    with np.load(files[1]) as file:
        assert (file["volumes"][0] == plain).all()  # alpha = 0
        assert str(file["scan_id"]) == "sub-04_ses-M000"
