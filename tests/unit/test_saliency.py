"""Saliency: attributions, random weights, agreement with a truth, regions, and the whole job."""

import shutil
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from helpers.models import CFG, SHAPE, SPACING, brain_ball, grid_affine
from helpers.networks import SMALL_ENCODER, randomise
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.evaluation.probes.direction import LinearModel
from ldae.evaluation.saliency import regions
from ldae.evaluation.saliency.agreement import rank_correlation, sizes, truth_scores
from ldae.evaluation.saliency.attributions import (
    ReadOut,
    blocks,
    integrated_gradients,
    occlusion,
)
from ldae.evaluation.saliency.evaluate import evaluate_saliency
from ldae.evaluation.saliency.random_weights import backbone_stages, randomised
from ldae.evaluation.saliency.tables import attention_table, check_table, region_table
from ldae.evaluation.saliency.views import reference_volume
from ldae.evaluation.saliency.views import test_scans as chosen_scans
from ldae.files import read_table
from ldae.models.storage import load_card, save_model
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.slice_attention import slice_attention

ENCODER = {**SMALL_ENCODER, "position": "sinusoidal", "num_heads": 2}


def volumes(count: int) -> torch.Tensor:
    """Volumes with empty slices at both ends."""
    x = torch.rand(count, 1, 12, 10, 8, generator=torch.Generator().manual_seed(2))
    x[..., :2], x[..., -1:] = 0, 0
    return x


def small_read_out(**options) -> ReadOut:
    encoder = randomise(build_encoder({**ENCODER, **options})).eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(9)
    mean, w = torch.randn(2, encoder.dim, generator=draw, dtype=torch.float64)
    std = torch.rand(encoder.dim, generator=draw, dtype=torch.float64) + 0.5
    return ReadOut(encoder, LinearModel(mean, std, w, 0.3))


def test_attention_weights_are_those_that_make_the_code():
    encoder = randomise(build_encoder({**ENCODER, "num_heads": 1, "projections": False})).eval()
    x = volumes(2)
    found = slice_attention(encoder, x)
    assert found.summary.shape == (2, 8) and found.heads.shape == (2, 1, 8)
    for weights in found:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    kept = {}
    hook = encoder.cross_attention.register_forward_pre_hook(
        lambda _, args: kept.update(embedded=args[1])
    )
    y = encoder(x)
    hook.remove()
    cross, dim = encoder.cross_attention, encoder.dim
    values = F.linear(
        kept["embedded"], cross.in_proj_weight[2 * dim :], cross.in_proj_bias[2 * dim :]
    )
    torch.testing.assert_close(cross.out_proj(found.heads @ values).squeeze(1), y)
    with pytest.raises(ValueError, match="evaluation mode"):
        slice_attention(encoder.train(), x)


def test_integrated_gradients_add_up_to_the_difference_of_the_logits():
    read_out, x = small_read_out(), volumes(1)
    reference = 0.5 * x.flip(2)
    found = integrated_gradients(read_out, x, reference, 64)
    assert found.shape == x.shape
    gap = read_out(x) - read_out(reference)
    assert gap.abs() > 1e-3
    torch.testing.assert_close(found.sum(dim=(1, 2, 3, 4)), gap, rtol=1e-2, atol=1e-4)
    assert (found[..., :2] == 0).all()


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
@pytest.mark.parametrize("skip", [True, False])
def test_occlusion_is_the_fall_of_the_logit_block_by_block(plane, skip):
    read_out, x = small_read_out(plane=plane, skip_empty_slices=skip), volumes(1)
    reference = torch.full_like(x, 0.4)
    labels = blocks((x[0, 0] > 0) & (torch.arange(12) < 9)[:, None, None], 4)
    found = occlusion(read_out, x, reference, labels)
    assert (found[0, 0][labels == 0] == 0).all()
    for number in (1, 5, int(labels.max())):
        inside = labels == number
        changed = torch.where(inside, reference, x)
        expected = (read_out(x) - read_out(changed)).item()
        np.testing.assert_allclose(found[0, 0][inside], expected, rtol=1e-3, atol=1e-5)


def test_blocks_cover_the_brain_and_are_numbered_without_gaps():
    brain = torch.zeros(9, 8, 7, dtype=torch.bool)
    brain[4:6, 2:8, 1:3] = True
    labels = blocks(brain, 3)
    assert (labels[brain] > 0).all()
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert (labels[3:6, 0:3, 0:3] == labels[4, 2, 1]).all()  # one cube has one number
    assert (labels[6:] == 0).all()


def test_random_weights_reach_every_layer_and_leave_the_trained_read_out_alone():
    read_out = small_read_out()
    torch.manual_seed(4)
    fresh = build_encoder(ENCODER).eval()
    before = {key: value.clone() for key, value in read_out.state_dict().items()}
    x, names = volumes(2), []
    outputs = [read_out(x)]
    for level, random in randomised(read_out, fresh, 0):
        names.append(level)
        outputs.append(random(x))
        if level == "attention":
            assert not torch.equal(
                random.encoder.soft_attention.weight, read_out.encoder.soft_attention.weight
            )
            key = "backbone.stem.0.weight"
            assert torch.equal(random.encoder.state_dict()[key], before[f"encoder.{key}"])
    assert names == ["probe", "attention", "backbone 1", "backbone 2", "backbone 3", "all"]
    for key, value in random.encoder.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[key]), key
    torch.testing.assert_close(random.probe.w.norm(), read_out.probe.w.norm())
    assert not torch.allclose(random.probe.w, read_out.probe.w)
    assert all(torch.equal(read_out.state_dict()[key], value) for key, value in before.items())
    assert all((a != b).any() for a, b in pairwise(outputs))
    again = [random(x) for _, random in randomised(read_out, fresh, 0)]
    assert all(torch.equal(a, b) for a, b in zip(again, outputs[1:], strict=True))


SIZES = {"count": 3, "grid": [6, 8, 6], "voxels": 40}


def joined(kind: str) -> ReadOut:
    """Read-out of an encoder with a linear branch, whose voxels lie in the middle of its grid."""
    read_out = small_read_out(kind=kind, components=SIZES)
    branch = read_out.encoder.components
    branch.index.copy_(torch.arange(100, 140))
    branch.mean.fill_(0.5)
    return read_out


@pytest.mark.parametrize("kind", ["components", "both"])
def test_read_outs_with_a_linear_branch_are_attributed_as_well(kind):
    read_out, x = joined(kind), volumes(1)
    reference = x.flip(3)
    labels = blocks(x[0, 0] > 0, 4)
    found = occlusion(read_out, x, reference, labels)
    for number in (1, 7, int(labels.max())):
        changed = torch.where(labels == number, reference, x)
        expected = (read_out(x) - read_out(changed)).item()
        np.testing.assert_allclose(found[0, 0][labels == number], expected, rtol=1e-3, atol=1e-5)
    gradients = integrated_gradients(read_out, x, reference, 16)
    assert gradients.isfinite().all() and (gradients[x == reference] == 0).all()
    # Of a linear branch alone, only the voxels that it reads.
    assert (gradients != 0).float().mean() < (0.5 if kind == "components" else 1)
    assert (gradients != 0).any()


@pytest.mark.parametrize("kind", ["components", "both"])
def test_random_weights_reach_a_linear_branch_and_its_voxels(kind):
    read_out, x = joined(kind), volumes(1)
    torch.manual_seed(4)
    fresh = build_encoder({**ENCODER, "kind": kind, "components": SIZES}).eval()
    places, seen = read_out.encoder.components.index.clone(), {}
    for level, random in randomised(read_out, fresh, 0):
        branch = random.encoder.components
        seen[level] = (branch.matrix.clone(), branch.index.clone())
        assert random(x).isfinite().all()
    assert list(seen)[-2:] == ["components", "all"]
    assert ("backbone 4" in seen) == (kind == "both")
    assert torch.equal(seen["components"][0], fresh.components.matrix)
    assert torch.equal(seen["components"][1], places)
    assert len(seen["all"][1].unique()) == SIZES["voxels"] and seen["all"][1].max() < 6 * 8 * 6
    assert not torch.equal(seen["all"][1], places)
    assert torch.equal(read_out.encoder.components.index, places)


@pytest.mark.parametrize("backbone", ["convnext_atto", "resnet10t"])
def test_stages_of_a_backbone_hold_all_its_weights(backbone):
    kwargs = {} if backbone == "resnet10t" else ENCODER["backbone_kwargs"]
    encoder = build_encoder({**ENCODER, "backbone": backbone, "backbone_kwargs": kwargs})
    named = [name for stage in backbone_stages(encoder) for name in stage]
    keys = {key for key in encoder.state_dict() if key.startswith("backbone.")}
    assert keys == {key for key in keys if any(key.startswith(f"{name}.") for name in named)}
    assert len(backbone_stages(encoder)) in (4, 5) and len(named) == len(set(named))


def test_agreement_of_a_map_with_itself_and_with_the_truth():
    draw = np.random.default_rng(0)
    change, brain = draw.normal(size=(6, 6, 6)), np.ones((6, 6, 6), bool)
    brain[0] = False
    size = sizes(change, brain, 0, 6.0)
    assert len(size) == 180 and (size >= 0).all()
    perfect = truth_scores(sizes(-2 * change, brain, 0, 6.0), size)  # signs do not count
    assert perfect["truth_correlation"] == pytest.approx(1) and perfect["pointing"] == 1
    found = truth_scores((size < 0.1).astype(float), size)
    assert found["truth_correlation"] < 0 and found["pointing"] == 0
    half, order = np.zeros(180), np.argsort(size)
    half[[order[-1], order[60]]] = 1  # two voxels share the peak; one is where most changes
    assert truth_scores(half, size)["pointing"] == 0.5
    assert np.isnan(truth_scores(np.zeros(180), size)["pointing"])
    assert rank_correlation(size**3, size) == pytest.approx(1)
    assert np.isnan(rank_correlation(size, np.zeros(180)))


def test_maps_are_compared_smoothed_and_within_the_brain():
    values, brain = np.zeros((9, 9, 9)), np.ones((9, 9, 9), bool)
    brain[:2] = False
    values[4, 4, 4], values[0] = -1, 100  # what lies outside of the brain must not leak in
    sharp, soft = (sizes(values, brain, fwhm, 4.0).reshape(7, 9, 9) for fwhm in (0, 8.0))
    assert sharp.sum() == 1 and soft.sum() == pytest.approx(1, abs=0.01)
    assert soft[2, 4, 4] == soft.max() < 0.2
    assert soft[1, 4, 4] / soft[2, 4, 4] == pytest.approx(0.5, abs=0.02)  # 4 mm: half the width


def test_check_table_averages_draws_and_pairs_the_trained_maps_with_each_level():
    rows = []
    for number, scan in enumerate("abcd"):
        about = {"scan_id": scan, "participant_id": scan, "method": "occlusion"}
        about |= {"diagnosis": "AD", "measure": "truth_correlation"}
        rows.append(about | {"level": "trained", "draw": 0, "value": 0.5 + 0.1 * number})
        for draw in (0, 1):
            value = 0.1 * number + 0.2 * draw
            rows.append(about | {"level": "all", "draw": draw, "value": value})
    rows[0]["value"] = np.nan
    found = check_table(pd.DataFrame(rows), 50, 0).set_index(["level", "reference"])
    assert found.loc[("trained", None), "value"].item() == pytest.approx(0.7)
    assert found.loc[("trained", None), "n_scans"].item() == 3
    assert found.loc[("all", None), "value"].item() == pytest.approx(0.25)
    gap = found.loc[("trained", "all")]
    assert gap["value"] == pytest.approx(0.4) and gap["n_subjects"] == 3
    assert gap["ci_low"] == pytest.approx(0.4) and gap["ci_high"] == pytest.approx(0.4)


def test_region_table_sets_a_regions_share_against_its_volume():
    about = {"diagnosis": "AD", "method": "occlusion", "set": "region"}
    whole = {"whole": 10.0, "whole_voxels": 100}
    rows = [
        about
        | whole
        | {"scan_id": scan, "participant_id": scan, "region": name}
        | {"size": size, "part": -size, "voxels": voxels}
        for scan in "ab"
        for name, size, voxels in (("small", 5.0, 10.0), ("absent", 0.0, 0.0))
    ]
    found = region_table(pd.DataFrame(rows), 20, 0).set_index(["region", "measure"])["value"]
    assert found["small", "share"] == 0.5 and found["small", "concentration"] == 5
    assert found["small", "logit"] == -5
    assert np.isnan(found["absent", "concentration"])


def test_attention_table_has_a_row_a_class_kind_and_slice():
    scans = pd.DataFrame(
        {"scan_id": list("abc"), "participant_id": list("abb"), "diagnosis": ["CN", "AD", "AD"]},
        index=[7, 3, 5],
    )
    weights = np.array([[0.1, 0.9], [0.2, 0.8], [0.4, 0.6]])
    found = attention_table(scans, {"heads": weights}, [-3.0, 3.0], 20, 0)
    found = found.set_index(["diagnosis", "slice"])
    assert found.loc[("AD", 0), "value"] == pytest.approx(0.3)
    assert found.loc[("CN", 1), "value"] == 0.9 and found.loc[("CN", 1), "mm"] == 3
    assert found.loc[("AD", 1), ["n_scans", "n_subjects"]].tolist() == [2, 1]


def image(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.fixture(scope="module")
def tissues(tmp_path_factory) -> dict[str, Path]:
    """Grey matter in the right half of the ball, white matter in the left; bytes, as MNI's."""
    folder, ball = tmp_path_factory.mktemp("tissues"), brain_ball()
    right = np.arange(SHAPE[0])[:, None, None] >= SHAPE[0] // 2
    parts = {"grey": ball & right, "white": ball & ~right}
    return {
        name: image(folder / f"{name}.nii.gz", (255 * part).astype(np.uint8), grid_affine())
        for name, part in parts.items()
    }


def test_regions_are_the_maps_and_the_atlas_on_the_grid(tissues, tmp_path):
    labels = np.zeros(SHAPE, np.int16)
    labels[2:6, 4:8, 4:8], labels[10:14, 4:8, 4:8] = 7, 12
    atlas = image(tmp_path / "atlas.nii.gz", labels, grid_affine())
    (tmp_path / "atlas.tsv").write_text("index\tname\n7\tleft part\n99\tabsent\n")
    found = regions.region_set(grid_affine(), SHAPE, tissues, atlas)
    assert found.names[:3] == [("tissue", "grey"), ("tissue", "white"), ("tissue", "fluid")]
    assert found.names[-2:] == [("atlas", "left part"), ("atlas", "12")]
    totals = dict(zip(found.names, found.totals(np.ones(SHAPE)), strict=True))
    assert totals["atlas", "left part"] == pytest.approx(64)
    tissue = [totals["tissue", name] for name in ("grey", "white", "fluid")]
    assert sum(tissue) == pytest.approx(np.prod(SHAPE), rel=1e-6)
    assert tissue[0] == pytest.approx(tissue[1], rel=1e-6)
    only = np.zeros(SHAPE)
    only[3, 5, 5] = 2
    totals = dict(zip(found.names, found.totals(only), strict=True))
    assert totals["atlas", "left part"] == pytest.approx(2) and totals["atlas", "12"] == 0
    assert totals["tissue", "white"] == pytest.approx(2, abs=0.6)


def test_maps_and_atlases_that_are_none_are_refused_in_a_sentence(tissues, tmp_path):
    affine, ball = grid_affine(), brain_ball()
    with pytest.raises(UserError, match=r"absent\.nii does not exist.*evaluation\.saliency"):
        regions.map_fractions(tmp_path / "absent.nii", affine, SHAPE)
    scan = image(tmp_path / "scan.nii.gz", (700.0 * ball).astype(np.float32), affine)
    with pytest.raises(UserError, match=r"no probability map: its values run from 0 to 700"):
        regions.map_fractions(scan, affine, SHAPE)
    soft = image(tmp_path / "soft.nii.gz", (0.5 * ball).astype(np.float32), affine)
    with pytest.raises(UserError, match="values that are no labels"):
        regions.label_fractions(soft, affine, SHAPE)
    four = image(tmp_path / "four.nii.gz", np.zeros((*SHAPE, 2), np.int16), affine)
    with pytest.raises(UserError, match="has 4 dimensions where 3 are expected"):
        regions.label_fractions(four, affine, SHAPE)
    far = affine.copy()
    far[:3, 3] += 1000
    elsewhere = image(tmp_path / "far.nii.gz", ball.astype(np.int16), far)
    with pytest.raises(UserError, match="No label of the atlas"):
        regions.label_fractions(elsewhere, affine, SHAPE)


SETTINGS = {"max_scans": 2, "reference": "average", "steps": 4, "block": 4 * SPACING}
SETTINGS |= {"fwhm": 2 * SPACING, "draws": 1}


def run(
    project: Path, probes: Path, tissues: dict, out: Path, truth=None, attention=True, **changes
):
    tables = ("regions", "checks", "attention") if attention else ("regions", "checks")
    outputs = {name: out / f"{name}.tsv" for name in tables}
    outputs["maps"] = out / "maps.npz"
    settings = SETTINGS | {"atlas": None, "tissues": {}} | changes
    evaluate_saliency(
        project / "ldae",
        project / "volumes",
        probes / "classifier.npz",
        tissues,
        truth,
        outputs,
        CFG | {"saliency": settings},
        "cpu",
        1,
        0,
    )
    return outputs


def test_saliency_of_a_run_with_known_truth(project, probe_outputs, tissues, tmp_path):
    store = VolumeStore(project / "volumes")
    chosen = chosen_scans(store, ("CN", "AD"), 2)
    assert chosen["diagnosis"].tolist() == ["AD", "AD", "CN", "CN"]
    rows = chosen.index.to_numpy()[:3]  # of one scan the truth is not known
    other = store.volumes(rows).numpy()
    other[:, :, 6:10, 6:10, 6:10] *= 0.5
    np.savez(tmp_path / "truth.npz", scan_id=chosen["scan_id"].to_numpy(str)[:3], volumes=other)
    outputs = run(project, probe_outputs, tissues, tmp_path, tmp_path / "truth.npz")
    checks = read_table(outputs["checks"])
    own = checks[checks["reference"].isna()].set_index(["method", "level", "measure"])
    gradients = own.loc["integrated_gradients"]
    assert {"trained", "probe", "attention", "backbone 1", "all"} <= set(
        gradients.index.get_level_values("level")
    )
    assert set(own.loc["occlusion"].index.get_level_values("level")) == {
        "trained",
        "image",
        "all",
    }
    assert ("trained", "likeness") not in gradients.index
    assert gradients.loc[("all", "likeness"), "n_scans"] == 4
    assert gradients.loc[("trained", "truth_correlation"), "n_scans"] == 3
    gaps = checks[checks["reference"] == "all"].set_index(["method", "measure"])["value"]
    both = own["value"].unstack("level").loc[("occlusion", "truth_correlation")]
    expected = both["trained"] - both["all"]
    assert gaps["occlusion", "truth_correlation"] == pytest.approx(expected, abs=1e-5)
    table = read_table(outputs["regions"])
    share = table[(table["measure"] == "share") & (table["set"] == "tissue")]
    sums = share.groupby(["diagnosis", "method"])["value"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-4)
    attention = read_table(outputs["attention"])
    sums = attention.groupby(["diagnosis", "weights"])["value"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-4)
    assert attention["mm"].min() == pytest.approx(grid_affine()[2, 3])
    with np.load(outputs["maps"]) as file:
        assert file["classes"].tolist() == ["AD", "CN"] and file["scans"].tolist() == [2, 2]
        assert file["integrated_gradients"].shape == file["change"].shape == (2, *SHAPE)
        assert file["change"][:, 7, 7, 7].min() > 0 and file["change"][:, 1].max() == 0
    again = run(project, probe_outputs, tissues, tmp_path / "again", tmp_path / "truth.npz")
    for name, path in outputs.items():
        assert again[name].read_bytes() == path.read_bytes(), name


def test_saliency_without_truth_has_no_rows_of_it(project, probe_outputs, tissues, tmp_path):
    outputs = run(project, probe_outputs, tissues, tmp_path, reference="empty", max_scans=1)
    assert set(read_table(outputs["checks"])["measure"]) == {"likeness"}
    with np.load(outputs["maps"]) as file:
        assert "change" not in file.files


def test_saliency_of_a_linear_encoder_has_no_attention(project, tissues, tmp_path):
    folder = tmp_path / "project"
    (folder / "ldae").mkdir(parents=True)
    (folder / "volumes").symlink_to(project / "volumes")
    torch.manual_seed(3)
    sizes = {"count": 5, "grid": [16, 16, 16], "voxels": 300}
    architecture = {**ENCODER, "kind": "components", "components": sizes}
    encoder = build_encoder(architecture)
    encoder.components.index.copy_(torch.arange(2000, 2300))
    card = load_card(project / "ldae")
    shutil.copy(project / "ldae/scans.tsv", folder / "ldae/scans.tsv")
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    save_model(folder / "ldae", state, card | {"architecture": architecture})
    arrays = {"mean": np.zeros(5), "std": np.ones(5), "w": np.arange(1.0, 6), "b": 0.0}
    np.savez(folder / "classifier.npz", classes=["CN", "AD"], **arrays)
    outputs = run(folder, folder, tissues, tmp_path / "out", attention=False)
    levels = read_table(outputs["checks"])["level"]
    assert set(levels) == {"trained", "image", "probe", "components", "all"} - {"trained"}
    assert "attention" not in outputs
    with pytest.raises(UserError, match="no branch of slices"):
        run(folder, folder, tissues, tmp_path / "out")


def test_reference_is_the_average_of_healthy_training_scans_or_empty(project):
    store = VolumeStore(project / "volumes")
    training = store.index.loc[store.rows("train")]
    expected = store.volumes(training.index[training["diagnosis"] == "CN"].to_numpy()).mean(dim=0)
    torch.testing.assert_close(reference_volume(store, "average", "CN")[0], expected)
    assert (reference_volume(store, "empty", "CN") == 0).all()
    with pytest.raises(UserError, match=r"No training scan is of the class XX.*to empty"):
        reference_volume(store, "average", "XX")


def test_a_class_without_test_scans_is_named(project):
    store = VolumeStore(project / "volumes")
    with pytest.raises(UserError, match=r"no scan of the class XX.*evaluation\.saliency to null"):
        chosen_scans(store, ("CN", "XX"), 2)
