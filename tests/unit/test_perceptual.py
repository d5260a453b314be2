"""LPIPS in two dimensions and as a fake-3-D loss."""

import warnings

import pytest
import torch
from safetensors.torch import save_file

import ldae.nets._torchvision  # noqa: F401

# isort: split
import lpips

from helpers.networks import count
from ldae.errors import UserError
from ldae.nets.perceptual import Fake3DPerceptual, Lpips


@pytest.fixture(scope="module")
def perceptual(tmp_path_factory) -> Lpips:
    """LPIPS with random SqueezeNet weights of the right keys."""
    torch.manual_seed(0)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's deprecation of `pretrained`
        shapes = lpips.LPIPS(pretrained=False, net="squeeze", pnet_rand=True, verbose=False)
    state = {key: 0.1 * torch.randn(value.shape) for key, value in shapes.state_dict().items()}
    state = {key: value.abs() if "lin" in key else value for key, value in state.items()}
    for lin in range(7):
        state[f"lins.{lin}.model.1.weight"] = state[f"lin{lin}.model.1.weight"].clone()
    state["scaling_layer.shift"] = torch.tensor([-0.03, -0.088, -0.188]).view(1, 3, 1, 1)
    state["scaling_layer.scale"] = torch.tensor([0.458, 0.448, 0.45]).view(1, 3, 1, 1)
    path = tmp_path_factory.mktemp("lpips") / "squeeze.safetensors"
    save_file(state, path)
    net = Lpips("squeeze", path)
    assert {k: v.device.type for k, v in net.state_dict().items() if v.is_meta} == {}
    assert torch.equal(net.lpips.lins[3].model[1].weight, state["lin3.model.1.weight"])
    return net


def test_lpips_is_per_image_and_zero_for_equal_images(perceptual):
    a, b = (torch.rand(3, 1, 20, 30, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    distance = perceptual(a, b)
    assert distance.shape == (3,)
    assert (distance > 0).all()
    torch.testing.assert_close(distance[1:2], perceptual(a[1:2], b[1:2]))
    assert perceptual(a, a).abs().max() == 0
    torch.testing.assert_close(
        perceptual(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)), distance
    )


def test_lpips_is_frozen(perceptual):
    assert count(perceptual, trainable=True) == 0
    assert not any(module.training for module in perceptual.train().modules())


def test_lpips_refuses_missing_or_foreign_weights(tmp_path):
    with pytest.raises(UserError, match=r"LPIPS \(alex\): the weights .* do not exist"):
        Lpips("alex", tmp_path / "alex.safetensors")
    save_file({"net.x": torch.zeros(1)}, tmp_path / "alex.safetensors")
    with pytest.raises(UserError, match=r"missing: lin0.*unexpected: net.x"):
        Lpips("alex", tmp_path / "alex.safetensors")
    with pytest.raises(UserError, match="one of alex, squeeze, vgg"):
        Lpips("resnet", tmp_path / "alex.safetensors")


def test_fake_3d_loss(perceptual):
    loss = Fake3DPerceptual(perceptual, 0.5)
    assert loss.slices(8).tolist() == [1, 3, 5, 7]
    assert Fake3DPerceptual(perceptual, 0.01).slices(8).tolist() == [4]
    drawn = [loss.slices(64, torch.Generator().manual_seed(seed)).tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 32

    a = torch.rand(1, 1, 4, 6, 4, generator=torch.Generator().manual_seed(0))
    b = a.clone().requires_grad_()
    assert loss(a, b).item() == 0
    total = loss(a, 0.5 * b)
    total.backward()
    assert total.item() > 0
    # Evenly spaced slices: along x the 1st and the 3rd (of four), and so on.
    untouched = b.grad[0, 0, 0::2, :, 0::2][:, 0::2]
    assert untouched.abs().max() == 0
    assert b.grad[0, 0, 1::2].abs().max() > 0
    expected = sum(
        perceptual(
            *(
                2 * x.index_select(axis, loss.slices(x.shape[axis])).movedim(axis, 1)[0] - 1
                for x in (a, 0.5 * a)
            )
        ).mean()
        for axis in (2, 3, 4)
    )
    torch.testing.assert_close(total.detach(), expected)
