"""Denoiser and gradient estimator: formulas, gradients, autocast, velocity prediction."""

import pytest
import torch
import torch.nn.functional as F

from helpers.networks import SMALL_ENCODER, SMALL_LDM, Y_DIM, latents, randomise
from ldae.diffusion.schedule import Schedule
from ldae.errors import UserError
from ldae.nets.blocks import average_pool, repeat_voxels
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.preconditioning import Preconditioning
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.unet import build_unet


@pytest.fixture
def guided():
    return randomise(build_guided_unet(build_unet(SMALL_LDM, 3), SMALL_LDM, Y_DIM))


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


def test_unet_starts_at_zero_and_depends_on_timestep_once_trained():
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
def test_unet_refuses_invalid_architecture(change):
    with pytest.raises(ValueError, match=r"norm_num_groups|attention_factors"):
        build_unet({**SMALL_LDM, **change}, 3)


# --- gradient estimator --------------------------------------------------------------------------


def test_estimator_output_is_zero_at_start():
    unet = randomise(build_unet(SMALL_LDM, 3))
    net = build_guided_unet(unet, SMALL_LDM, Y_DIM).eval()
    z, t, y = latents(), torch.tensor([5, 700]), torch.randn(2, Y_DIM)
    eps, g = net(z, t, y)
    assert g.abs().max() == 0
    assert eps.abs().max() > 0
    assert torch.equal(Schedule().guided_eps(eps, g, t), eps)


def test_guided_eps_equals_unet_bit_for_bit_also_in_training(guided):
    z, t, y = latents(), torch.tensor([5, 700]), torch.randn(2, Y_DIM)
    reference = guided.unet.eval()(z, t)
    for mode in (True, False):
        eps, _ = guided.train(mode)(z, t, y)
        assert torch.equal(eps, reference)
        assert not guided.unet.training
        assert guided.estimator.training is mode


def test_sharing_unet_down_path_equals_running_it_twice(guided):
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
    h = block.conv_in(block.norm_in(x))
    h = F.group_norm(h, 4, block.norm_out.weight, block.norm_out.bias)
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


def test_unet_refuses_undefined_bfloat16_gradients_on_cpu(guided):
    z, t, y = latents(size=(4, 6, 4)), torch.tensor([5, 700]), torch.randn(2, Y_DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(UserError, match="two voxels wide along x"):
            guided(z, t, y)
        with torch.no_grad():  # inference is correct
            eps, _ = guided(z, t, y)
    torch.testing.assert_close(eps, guided.unet(z, t), rtol=0.1, atol=0.05)


# --- velocity prediction -------------------------------------------------------------------------


def velocity_unet(mean):
    preconditioning = Preconditioning(mean.shape, 1000)
    preconditioning.set(mean, Schedule().alphas_cumprod)
    return build_unet(SMALL_LDM, 3, preconditioning).eval()


def test_untrained_velocity_unet_is_exact_for_white_latents():
    """Of z_0 ~ N(mean, 1): E[eps | z_t] = sqrt(1 - ab_t) (z_t - sqrt(ab_t) mean)."""
    mean, z_t, t = 3 * latents(1)[0], latents(), torch.tensor([3, 900])
    ab = Schedule().alphas_cumprod[t].float().reshape(-1, 1, 1, 1, 1)
    expected = (1 - ab).sqrt() * (z_t - ab.sqrt() * mean)
    torch.testing.assert_close(velocity_unet(mean)(z_t, t), expected)


def test_velocity_unet_centres_latents_and_scales_g_by_signal():
    mean, t, y = 3 * latents(1)[0], torch.tensor([3, 900]), torch.randn(2, Y_DIM)
    signal = Schedule().alphas_cumprod[t].sqrt().float().reshape(-1, 1, 1, 1, 1)
    nets = [
        randomise(build_guided_unet(velocity_unet(m), SMALL_LDM, Y_DIM)).eval()
        for m in (mean, torch.zeros_like(mean))
    ]
    z_t = latents()
    for shifted, plain in zip(nets[0](z_t + signal * mean, t, y), nets[1](z_t, t, y), strict=True):
        torch.testing.assert_close(shifted, plain, atol=1e-4, rtol=1e-4)
    _, g = nets[1](z_t, t, y)
    features, t_emb = nets[1].unet.encode(z_t, t)
    torch.testing.assert_close(g, signal * nets[1].estimator(features, t_emb, y))
