"""Linear branch of the semantic encoder: equalised volumes, principal components, joined codes."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from helpers.networks import PAPER, SMALL_ENCODER, count, randomise
from helpers.training import assert_same, objective, settings, weights
from ldae.compute import Compute
from ldae.config import slice_branch
from ldae.errors import UserError
from ldae.models.loading import load_encoder
from ldae.models.storage import load_card, save_model
from ldae.nets.components import BACKGROUND, VolumeComponents, equalised
from ldae.nets.semantic_encoder import build_encoder, build_slice_encoder
from ldae.training.components import start_components
from ldae.training.distributed.signals import Interrupted
from ldae.training.loop import fit
from ldae.training.network_keys import relevant
from ldae.training.settings import stage_of, training_section

SIZES = {"count": 3, "grid": [6, 8, 6], "voxels": 40}


def volumes(count: int, shape=(12, 16, 12), seed: int = 0) -> torch.Tensor:
    """Smooth random volumes (N, 1, X, Y, Z) in [0, 1], zero outside a box."""
    drawn = torch.randn(count, 1, *shape, generator=torch.Generator().manual_seed(seed))
    x = torch.nn.functional.avg_pool3d(drawn, 3, stride=1, padding=1).sigmoid()
    inside = torch.zeros_like(x)
    inside[..., 2:-2, 2:-2, 2:-2] = 1
    return x * inside


class Rows:
    """Volumes by row, as a volume store gives them."""

    def __init__(self, x: torch.Tensor):
        self.x, self.shape = x, tuple(x.shape[2:])

    def volumes(self, rows) -> torch.Tensor:
        return self.x[torch.as_tensor(np.asarray(rows))]


def test_equalised_intensities_are_ranks_whatever_the_contrast():
    x = volumes(4).flatten(1)
    brain = x > BACKGROUND
    ranks = equalised(x)
    assert (ranks[~brain] == 0).all() and ranks.max() <= 1
    for row, inside in zip(ranks, brain, strict=True):
        # Even between 0 and 1, as ranks are.
        quantiles = torch.quantile(row[inside], torch.tensor([0.25, 0.5, 0.75]))
        torch.testing.assert_close(quantiles, torch.tensor([0.25, 0.5, 0.75]), atol=0.02, rtol=0)
    torch.testing.assert_close(equalised(0.5 * x**2 + 0.1 * brain), ranks, atol=0.02, rtol=0)
    # Not because nothing matters: another anatomy has other ranks.
    assert (equalised(volumes(4, seed=1).flatten(1)) - ranks).abs().mean() > 0.1


def test_equalised_volumes_with_equal_intensities_are_finite():
    x = torch.zeros(3, 500)
    x[1, :200] = 0.5  # one intensity
    x[2] = (torch.linspace(0, 1, 500) * 4).round() / 4  # none, and four
    ranks = equalised(x)
    assert ranks.isfinite().all() and (ranks[0] == 0).all()
    assert len(ranks[1, :200].unique()) == 1
    assert (ranks[2].diff() >= 0).all() and len(ranks[2].unique()) == 4


def test_equalised_volumes_have_a_gradient():
    x = volumes(1).flatten(1).requires_grad_()
    equalised(x).sum().backward()
    brain = x.detach() > BACKGROUND
    assert x.grad.isfinite().all() and (x.grad[~brain] == 0).all()
    assert (x.grad[brain] > 0).float().mean() > 0.9


def test_components_start_as_principal_components_of_training_scans_alone():
    x, rows = volumes(30), np.arange(2, 22)
    branch = VolumeComponents(**SIZES)
    start_components(branch, Rows(x), rows, Compute.prepare("cpu", 1, "fp32"), seed=1)
    ranks = branch.ranks(x).numpy()
    expected = np.sort(np.argsort(-ranks[rows].std(0), kind="stable")[: SIZES["voxels"]])
    assert branch.index.tolist() == expected.tolist()
    pca = PCA(3, svd_solver="full").fit(ranks[rows][:, expected])
    found = branch(x).numpy() * np.sqrt(pca.explained_variance_.mean())
    np.testing.assert_allclose(np.abs(found), np.abs(pca.transform(ranks[:, expected])), atol=0.02)
    assert found[rows].var(0, ddof=1).mean() == pytest.approx(pca.explained_variance_.mean(), 0.02)
    # Other scans have no part in it.
    changed, again = x.clone(), VolumeComponents(**SIZES)
    changed[22:] = 1 - changed[22:]
    start_components(again, Rows(changed), rows, Compute.prepare("cpu", 1, "fp32"), seed=1)
    assert torch.equal(again.matrix, branch.matrix) and torch.equal(again.mean, branch.mean)


def test_components_average_larger_volumes_to_their_grid():
    branch = VolumeComponents(**SIZES)
    coarse = volumes(2, (6, 8, 6))
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    torch.testing.assert_close(branch(fine), branch(coarse))


def test_more_components_than_scans_or_voxels_than_the_grid_has_are_an_error():
    branch, compute = VolumeComponents(**SIZES), Compute.prepare("cpu", 1, "fp32")
    message = r"components\.count is 3, which needs 4 training scans or more; there are 3"
    with pytest.raises(UserError, match=message):
        start_components(branch, Rows(volumes(20)), np.arange(3), compute, 1)
    with pytest.raises(UserError, match=r"components\.voxels is 289, but the grid .* only 288"):
        VolumeComponents(**SIZES | {"voxels": 289})
    with pytest.raises(UserError, match=r"components\.count is 41, more than the 40 voxels"):
        VolumeComponents(**SIZES | {"count": 41})


def test_untrained_components_are_random_projections_of_the_whole_grid():
    torch.manual_seed(0)
    branch = VolumeComponents(**SIZES)
    assert len(branch.index.unique()) == SIZES["voxels"]
    assert branch.index[0] == 0 and 288 - 2 * 288 / SIZES["voxels"] < branch.index[-1] < 288
    assert branch(volumes(8)).std(0).min() > 0.01


def test_joined_code_is_that_of_the_slices_and_then_the_components():
    torch.manual_seed(0)
    both = randomise(build_encoder({**SMALL_ENCODER, "kind": "both", "components": SIZES})).eval()
    x = volumes(2, (32, 32, 8))
    assert both.dim == both.slices.dim + 3 == both(x).shape[1]
    torch.testing.assert_close(both(x), torch.cat([both.slices(x), both.components(x)], 1))
    linear = build_encoder({**SMALL_ENCODER, "kind": "components", "components": SIZES})
    assert linear.dim == 3 and count(linear) == 0 and linear(x).shape == (2, 3)
    alone = build_encoder({**SMALL_ENCODER, "kind": "slices", "components": SIZES})
    assert type(alone) is type(build_slice_encoder(SMALL_ENCODER))
    with pytest.raises(UserError, match=r"kind is one of slices, components, both, not voxels"):
        build_encoder({**SMALL_ENCODER, "kind": "voxels"})


@pytest.mark.parametrize("kind", ["components", "both"])
def test_training_with_components_resumes_exactly_and_saves_them(chain, tmp_path, kind):
    encoder = chain[1]["ldae"]["encoder"] | {"kind": kind, "components": SIZES, "standardize": True}
    (whole, cfg), (halves, _), (resumed, _) = (
        objective(chain, "ldae", encoder=encoder) for _ in range(3)
    )
    start_matrix = whole.encoder.components.matrix.clone()
    fit(whole, settings("ldae", cfg, tmp_path / "whole"))
    with pytest.raises(Interrupted, match="stopped after step 1"):
        fit(halves, settings("ldae", cfg, tmp_path / "halves", stop_after=1))
    fit(resumed, settings("ldae", cfg, tmp_path / "halves"))
    assert_same(weights(whole), weights(resumed))
    assert torch.equal(whole.encoder.components.matrix, start_matrix)
    # The saved model gives the codes of the averaged weights, standardised slices first.
    out = tmp_path / "model"
    save_model(out, whole.model_state(), load_card(chain[0] / "ldae") | {"architecture": encoder})
    x = whole.volumes.volumes(whole.train_rows[:4])
    with whole.as_judged(), torch.inference_mode():
        torch.testing.assert_close(load_encoder(out)[0](x), whole.encoder(x))
    if kind == "both":
        assert whole.encoder.standardize.running_var.shape == (whole.encoder.slices.dim,)


def test_baselines_have_the_slices_alone():
    section = PAPER["ldae"]["encoder"]
    for kind in ("slices", "both"):
        changed = {**PAPER, "ldae": {**PAPER["ldae"], "encoder": {**section, "kind": kind}}}
        for stage in ("dae", "supervised_age"):
            assert not {"kind", "components"} & training_section(changed, stage)["encoder"].keys()
        # So another size of a branch that is not there retrains nothing.
        own = training_section(changed, "ldae")["encoder"]
        assert ("components" in own) == (kind == "both")
        # The LDAE with slices differs from the LDAE in the encoder alone.
        same = training_section(changed, "ldae") | {"encoder": slice_branch(section)}
        assert training_section(changed, "ldae_slices") == same
        assert stage_of("ldae_slices") == "ldae" != stage_of("dae")
    # Nor does another backbone of the baselines touch an encoder of components alone.
    linear = {**section, "kind": "components"}
    own = training_section({**PAPER, "ldae": {**PAPER["ldae"], "encoder": linear}}, "ldae")
    assert own["encoder"].keys() == {"kind", "components"}
    assert build_encoder(own["encoder"]).dim == section["components"]["count"]
    one, other = (
        relevant({**section, "components": {**section["components"], "count": n}}) for n in (8, 9)
    )
    assert one == other == relevant(slice_branch(section))
