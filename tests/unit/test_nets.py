"""Parameter counts of the paper's configuration, and what each network must and must not do."""

import importlib
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import save_file
from torch import nn

import ldae._torchvision  # noqa: F401

# isort: split
import lpips

from ldae.diffusion.schedule import Schedule
from ldae.errors import UserError
from ldae.nets.autoencoder import build_autoencoder, build_discriminator
from ldae.nets.blocks import average_pool, repeat_voxels
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.perceptual import Fake3DPerceptual, Lpips
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.sizes import check_sizes, latent_shape
from ldae.nets.unet import build_unet
from ldae.nets.weights import load_pretrained, load_weights

PAPER = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text())
SMALL_LDM = {
    **PAPER["ldm"],
    "base_channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_factors": [2],
    "num_heads": 2,
    "norm_num_groups": 4,
}
SMALL_AE = {
    **PAPER["autoencoder"],
    "channels": [8, 16],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "pretrained": None,
}
SMALL_ENCODER = {
    **PAPER["ldae"]["encoder"],
    "backbone": "convnext_atto",
    "backbone_kwargs": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    "pretrained": None,
    "num_heads": 4,
}
Y_DIM = 6


def count(net: nn.Module, trainable: bool = False) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad or not trainable)


def randomise(net: nn.Module) -> nn.Module:
    """Give every parameter a value, as training would: zero-initialised layers hide mistakes."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


def latents(batch: int = 2, channels: int = 3, size: tuple[int, ...] = (4, 6, 4)) -> torch.Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def guided():
    return randomise(build_guided_unet(build_unet(SMALL_LDM, 3), SMALL_LDM, Y_DIM))


def test_torchvision_repair_lets_other_errors_through(monkeypatch):
    from ldae import _torchvision

    assert _torchvision._repair() is None  # imported by now: nothing left to mend

    def fail(name: str) -> None:
        raise RuntimeError(f"{name} is broken in another way")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="another way"):
        _torchvision._repair()


# --- the paper's configuration -------------------------------------------------------------------


def test_parameter_counts_of_the_paper():
    with torch.device("meta"):
        autoencoder = build_autoencoder({**PAPER["autoencoder"], "pretrained": None})
        discriminator = build_discriminator(PAPER["autoencoder"]["adversarial"])
        encoder_cfg = {**PAPER["ldae"]["encoder"], "pretrained": None}
        encoder = build_encoder({**encoder_cfg, "projections": True})
        plain = build_encoder({**encoder_cfg, "projections": False})
        unet = build_unet(PAPER["ldm"], PAPER["autoencoder"]["latent_channels"])
        assert count(unet) == 486_927_363
        guided = build_guided_unet(unet, PAPER["ldm"], encoder.dim)
    assert encoder.dim == 768
    assert count(autoencoder) == 13_766_248
    assert count(discriminator) == 11_048_769
    assert count(encoder) == 53_588_065
    assert count(plain) == 51_814_753
    assert count(guided) == 865_339_142
    assert count(guided, trainable=True) == 378_411_779


def test_resampling_inner_axes_has_the_same_parameters():
    with torch.device("meta"):
        isotropic, inner = (
            build_unet({**PAPER["ldm"], "resample": mode}, 3)
            for mode in ("isotropic", "inner_axes")
        )
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in (isotropic, inner)]
    assert shapes[0] == shapes[1]


def test_sizes_of_the_paper_fit_and_others_are_refused_early():
    ae, ldm = PAPER["autoencoder"], PAPER["ldm"]
    check_sizes(PAPER["volumes"]["shape"], ae, ldm)
    assert latent_shape(PAPER["volumes"]["shape"], ae) == (3, 16, 20, 16)
    with pytest.raises(UserError, match=r"y side of 150 .* multiple of 32 .* use 128 or 160"):
        check_sizes([128, 150, 128], ae, ldm)
    with pytest.raises(UserError, match=r"x side of 16 .* use 32"):
        check_sizes([16, 160, 128], ae, ldm)
    check_sizes([8, 160, 128], ae, {**ldm, "resample": "inner_axes"})
    with pytest.raises(UserError, match="three numbers"):
        check_sizes([128, 128], ae, ldm)


# --- UNet ----------------------------------------------------------------------------------------


def test_resampling_blocks():
    x = torch.arange(32.0).reshape(1, 1, 2, 4, 4)
    torch.testing.assert_close(average_pool(x, (2, 2, 2)), F.avg_pool3d(x, 2))
    torch.testing.assert_close(average_pool(x, (1, 2, 2)), F.avg_pool3d(x, (1, 2, 2)))
    torch.testing.assert_close(repeat_voxels(x, (2, 2, 2)), F.interpolate(x, scale_factor=2))
    assert repeat_voxels(x, (1, 2, 2)).shape == (1, 1, 2, 8, 8)


@pytest.mark.parametrize("resample", ["isotropic", "inner_axes"])
def test_unet_shape_and_halved_axes(resample):
    net = randomise(build_unet({**SMALL_LDM, "resample": resample}, 3)).eval()
    z, t = latents(), torch.tensor([0, 999])
    assert net(z, t).shape == z.shape
    features, _ = net.encode(z, t)
    coarsest = (2, 3, 2) if resample == "isotropic" else (4, 3, 2)
    assert features[-1].shape[2:] == coarsest


def test_unet_starts_at_zero_and_depends_on_everything_once_trained():
    net = build_unet(SMALL_LDM, 3).eval()
    z, t = latents(), torch.tensor([10, 10])
    assert net(z, t).abs().max() == 0
    randomise(net)
    out = net(z, t)
    assert not torch.allclose(out[:1], net(z[:1], t[:1] + 500))
    torch.testing.assert_close(out[1:], net(z[1:], t[1:]))
    assert out.std() > 0


def test_attention_equals_its_formula():
    net = randomise(build_unet(SMALL_LDM, 3)).eval()
    attention = next(s.attention for s in net.down.stages if s.attention is not None)
    x = latents(channels=16)
    tokens = attention.norm(x).flatten(2)
    q, k, v = attention.qkv(tokens).chunk(3, dim=1)
    heads = []
    for part in range(2):
        one = slice(8 * part, 8 * (part + 1))
        weights = (q[:, one].transpose(1, 2) @ k[:, one] / 8**0.5).softmax(dim=-1)
        heads.append(v[:, one] @ weights.transpose(1, 2))
    expected = x + attention.out(torch.cat(heads, dim=1)).reshape(x.shape)
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize(
    "change", [{"norm_num_groups": 5}, {"num_heads": 3}, {"attention_factors": [8]}]
)
def test_unet_refuses_numbers_that_do_not_fit(change):
    with pytest.raises(ValueError, match=r"norm_num_groups|attention_factors"):
        build_unet({**SMALL_LDM, **change}, 3)


# --- gradient estimator --------------------------------------------------------------------------


def test_guidance_is_zero_at_the_start():
    unet = randomise(build_unet(SMALL_LDM, 3))
    net = build_guided_unet(unet, SMALL_LDM, Y_DIM).eval()
    z, t, y = latents(), torch.tensor([5, 700]), torch.randn(2, Y_DIM)
    eps, g = net(z, t, y)
    assert g.abs().max() == 0
    assert eps.abs().max() > 0
    assert torch.equal(Schedule().guided_eps(eps, g, t), eps)


def test_eps_is_the_unet_bit_for_bit_also_while_training(guided):
    z, t, y = latents(), torch.tensor([5, 700]), torch.randn(2, Y_DIM)
    reference = guided.unet.eval()(z, t)
    for mode in (True, False):
        eps, _ = guided.train(mode)(z, t, y)
        assert torch.equal(eps, reference)
        assert not guided.unet.training
        assert guided.estimator.training is mode


def test_sharing_the_down_path_equals_running_it_twice(guided):
    guided.eval()
    z, t, y = latents(), torch.tensor([5, 700]), torch.randn(2, Y_DIM)
    _, g = guided(z, t, y)
    features, t_emb = guided.unet.encode(z, t)
    assert torch.equal(g, guided.estimator(features, t_emb, y))
    assert not torch.allclose(g, guided(z, t, y + 1)[1])


def test_gradients_reach_the_estimator_and_y_sem_only(guided):
    guided.train()
    z = latents().requires_grad_()
    y = torch.randn(2, Y_DIM, requires_grad=True)
    eps, g = guided(z, torch.tensor([5, 700]), y)
    assert not eps.requires_grad
    (eps - g).square().mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in guided.unet.parameters())
    assert all(p.grad is not None for p in guided.estimator.parameters())
    assert y.grad.abs().max() > 0
    assert z.grad is None


def test_adagn_of_both_conditions(guided):
    """The folded scale and shift equal (1 + s_y) [(1 + s_t) GN(h) + b_t] + b_y."""
    block = guided.eval().estimator.up.middle[0].block
    x, t_emb, y_emb = latents(channels=16), torch.randn(2, 32), torch.randn(2, 32)
    s_t, b_t = block.time(F.silu(t_emb))[..., None, None, None].chunk(2, dim=1)
    s_y, b_y = block.semantic(F.silu(y_emb))[..., None, None, None].chunk(2, dim=1)
    h = block.norm_out(block.conv_in(F.silu(block.norm_in(x))))
    h = (1 + s_y) * ((1 + s_t) * h + b_t) + b_y
    torch.testing.assert_close(block(x, t_emb, y_emb), x + block.conv_out(F.silu(h)))


def test_estimator_of_another_architecture_is_refused():
    with pytest.raises(ValueError, match="architecture"):
        build_guided_unet(build_unet(SMALL_LDM, 3), {**SMALL_LDM, "num_heads": 1}, Y_DIM)


def test_training_under_bfloat16_autocast(guided):
    encoder = randomise(build_encoder({**SMALL_ENCODER, "standardize": True}))
    z, t, noise = latents(size=(6, 6, 4)), torch.tensor([5, 700]), latents(size=(6, 6, 4))
    net = randomise(build_guided_unet(guided.unet, SMALL_LDM, encoder.dim)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = encoder(torch.rand(2, 1, 32, 32, 4))
        eps, g = net(z, t, y)
    assert y.dtype == eps.dtype == g.dtype == torch.float32
    (noise - Schedule().guided_eps(eps, g, t)).square().mean().backward()
    for part in (encoder, net.estimator):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


def test_undefined_gradients_of_cpus_are_refused(guided):
    z, t, y = latents(size=(4, 6, 4)), torch.tensor([5, 700]), torch.randn(2, Y_DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(UserError, match="two voxels wide along x"):
            guided(z, t, y)
        with torch.no_grad():  # inference is right
            eps, _ = guided(z, t, y)
    torch.testing.assert_close(eps, guided.unet(z, t), rtol=0.1, atol=0.05)


def test_code_keeps_small_differences_under_autocast():
    """y_sem is rounded no coarser than float32, however large what all scans share is."""
    net = randomise(build_encoder(SMALL_ENCODER)).eval()
    with torch.no_grad():
        net.cross_attention.out_proj.bias += 100
    embeddings = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    net.embed_slices = lambda x: embeddings
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(torch.zeros(2, 1, 32, 32, 4))
    torch.testing.assert_close(y, net.aggregate(embeddings).detach())
    assert (y[0] - y[1]).abs().max() < 100 * 2**-8  # one step of bfloat16 at 100


# --- semantic encoder ----------------------------------------------------------------------------


@pytest.mark.parametrize("plane, axis", [("sagittal", 2), ("coronal", 3), ("axial", 4)])
def test_slices_run_along_the_plane(plane, axis):
    net = build_encoder({**SMALL_ENCODER, "plane": plane}).eval()
    x = torch.rand(2, 1, 32, 40, 36, generator=torch.Generator().manual_seed(0))
    embeddings = net.embed_slices(x)
    assert embeddings.shape == (2, x.shape[axis], 16)
    changed = x.clone()
    changed.select(axis, 7)[1] += 1
    differs = (net.embed_slices(changed) - embeddings).abs().amax(dim=2) > 1e-6
    assert differs.nonzero().tolist() == [[1, 7]]


def test_encoder_of_slices_smaller_than_its_stride():
    net = build_encoder(SMALL_ENCODER).eval()
    assert net.stride == 32
    assert net(torch.rand(1, 1, 12, 16, 5)).shape == (1, net.dim)


def test_order_of_slices_counts_only_with_positions():
    x = torch.rand(1, 1, 32, 32, 6, generator=torch.Generator().manual_seed(0))
    for position in ("none", "sinusoidal"):
        net = randomise(build_encoder({**SMALL_ENCODER, "position": position})).eval()
        same = torch.allclose(net(x), net(x.flip(4)), rtol=1e-3, atol=1e-4)
        assert same == (position == "none")


def test_attention_of_the_text_alone():
    """Section 3.4 written out: softmax pooling gives the query, keys = values = E."""
    net = randomise(build_encoder({**SMALL_ENCODER, "projections": False, "num_heads": 1})).eval()
    x = torch.rand(2, 1, 32, 32, 6)
    e = net.embed_slices(x)
    q = (net.soft_attention(e).softmax(dim=1) * e).sum(dim=1, keepdim=True)
    cross = net.cross_attention
    q, k, v = (
        F.linear(value, weight, bias)
        for value, weight, bias in zip(
            (q, e, e), cross.in_proj_weight.chunk(3), cross.in_proj_bias.chunk(3), strict=True
        )
    )
    y = cross.out_proj((q @ k.transpose(1, 2) / net.dim**0.5).softmax(dim=-1) @ v)
    torch.testing.assert_close(net(x), y.squeeze(1))


def test_standardised_codes():
    net = randomise(build_encoder({**SMALL_ENCODER, "standardize": True})).train()
    y = net(torch.rand(8, 1, 32, 32, 4))
    torch.testing.assert_close(y.mean(dim=0), torch.zeros(net.dim), atol=1e-4, rtol=0)
    assert net.standardize.running_mean.abs().max() > 0
    assert count(net.standardize) == 0


def test_pretrained_backbone_sums_its_first_filters_over_rgb(tmp_path):
    import timm

    torch.manual_seed(0)
    kwargs = SMALL_ENCODER["backbone_kwargs"]
    rgb = timm.create_model("convnext_atto", pretrained=False, num_classes=10, **kwargs).eval()
    path = tmp_path / "backbone.safetensors"
    save_file(rgb.state_dict(), path)
    net = build_encoder({**SMALL_ENCODER, "pretrained": str(path)}).eval()
    x = torch.rand(1, 1, 32, 32, 3)
    grey = x[0, 0].permute(2, 0, 1)[:, None].expand(-1, 3, -1, -1)
    expected = rgb.forward_head(rgb.forward_features(grey), pre_logits=True)
    torch.testing.assert_close(net.embed_slices(x)[0], expected)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"pretrained": "absent.safetensors"}, "absent.safetensors do not exist"),
        ({"backbone": "convnext_tiniest"}, "no model 'convnext_tiniest'"),
        ({"num_heads": 5}, "does not divide"),
        ({"plane": "oblique"}, "plane is one of"),
        ({"position": "learned"}, "position is none or sinusoidal"),
    ],
)
def test_encoder_options_that_cannot_be(change, message):
    with pytest.raises(UserError, match=message):
        build_encoder({**SMALL_ENCODER, **change})


# --- autoencoder and weights ---------------------------------------------------------------------


def test_autoencoder_compresses_and_discriminator_judges_patches():
    net = build_autoencoder(SMALL_AE).eval()
    mean, sigma = net.encode(torch.rand(1, 1, 8, 8, 8))
    assert mean.shape == sigma.shape == (1, 3, 4, 4, 4)
    assert net.decode(mean).shape == (1, 1, 8, 8, 8)
    logits = build_discriminator({"channels": 4, "num_layers": 2})(torch.rand(1, 1, 16, 16, 16))[-1]
    assert logits.shape[:2] == (1, 1)


def test_weights_that_are_missing_or_do_not_fit_raise_with_the_keys(tmp_path):
    path = tmp_path / "ae.safetensors"
    with pytest.raises(UserError, match=r"autoencoder.pretrained.*do not exist.*safetensors"):
        build_autoencoder({**SMALL_AE, "pretrained": str(path)})
    net = build_autoencoder(SMALL_AE)
    state = net.state_dict()
    save_file(state, path)
    assert load_weights(path, "x", "y").keys() == state.keys()
    copy = build_autoencoder({**SMALL_AE, "pretrained": str(path)})
    assert all(torch.equal(value, state[key]) for key, value in copy.state_dict().items())

    key = "post_quant_conv.conv.bias"
    state[f"{key}_old"] = state.pop(key)
    save_file(state, path)
    with pytest.raises(UserError, match=rf"missing: {key}; unexpected: {key}_old"):
        load_pretrained(net, path, "x", "y")
    state[key] = torch.zeros(7)
    del state[f"{key}_old"]
    save_file(state, path)
    with pytest.raises(UserError, match=rf"other shape: {key} \(7,\) instead of \(3,\)"):
        load_pretrained(net, path, "x", "y")


# --- perceptual distance -------------------------------------------------------------------------


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


def test_lpips_per_image_and_small_ones(perceptual):
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


def test_lpips_weights_that_are_missing_or_of_another_net(tmp_path):
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
    by_hand = sum(
        perceptual(
            *(
                2 * x.index_select(axis, loss.slices(x.shape[axis])).movedim(axis, 1)[0] - 1
                for x in (a, 0.5 * a)
            )
        ).mean()
        for axis in (2, 3, 4)
    )
    torch.testing.assert_close(total.detach(), by_hand)
