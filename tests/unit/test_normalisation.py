"""Group normalisation in reduced precision: values, gradients, memory, layout."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.networks import SMALL_AE, SMALL_LDM, latents, randomise
from ldae.compute import use_channels_last
from ldae.nets.autoencoder import build_autoencoder
from ldae.nets.blocks import average_pool, repeat_voxels
from ldae.nets.normalisation import GroupNorm, GroupNormSiLU, cpu_as_gpu
from ldae.nets.unet import build_unet

LAYOUT = torch.channels_last_3d


def operands(adaptive: bool) -> tuple[nn.GroupNorm, torch.Tensor, list, torch.Tensor]:
    """A norm's parameters, a volume far from mean zero, scale and shift, and a gradient."""
    torch.manual_seed(0)
    norm = randomise(nn.GroupNorm(4, 16))
    x = (3 * torch.randn(2, 16, 5, 6, 4) + 2).bfloat16()
    affine = [torch.randn(2, 16, requires_grad=True) for _ in range(2 * adaptive)]
    return norm, x, affine, torch.randn(x.shape)


def reference(norm, x, affine, silu):
    h = F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
    if affine:
        scale, shift = (each[..., None, None, None] for each in affine)
        h = h * scale + shift
    return F.silu(h) if silu else h


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("kind", [GroupNorm, GroupNormSiLU])
def test_float32_is_torchs_bit_for_bit(kind, adaptive):
    norm, x, affine, grad = operands(adaptive)
    ours = kind(4, 16)
    ours.load_state_dict(norm.state_dict())
    x = x.float().requires_grad_()
    expected, found = reference(norm, x, affine, kind.silu), ours(x, *affine)
    assert torch.equal(found, expected)
    gradients = (
        torch.autograd.grad(y, [x, *net.parameters(), *affine], grad)
        for y, net in ((expected, norm), (found, ours))
    )
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("kind", [GroupNorm, GroupNormSiLU])
def test_bfloat16_is_torchs_float32_within_its_rounding(kind, adaptive):
    norm, x, affine, grad = operands(adaptive)
    ours = kind(4, 16)
    ours.load_state_dict(norm.state_dict())
    exact, low = x.float().requires_grad_(), x.contiguous(memory_format=LAYOUT).requires_grad_()
    expected = reference(norm, exact, affine, kind.silu)
    with cpu_as_gpu(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = ours(low, *affine)
    assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=LAYOUT)
    torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=1e-3)
    wanted = torch.autograd.grad(expected, [exact, *norm.parameters(), *affine], grad)
    got = torch.autograd.grad(found, [low, *ours.parameters(), *affine], grad.bfloat16())
    assert got[0].dtype == torch.bfloat16 and got[0].is_contiguous(memory_format=LAYOUT)
    for a, b in zip(got, wanted, strict=True):
        assert (a.float() - b).norm() < 0.005 * b.norm()


def test_backward_pass_keeps_the_input_alone():
    norm, x = GroupNormSiLU(4, 16), torch.randn(1, 16, 8, 8, 8).bfloat16().requires_grad_()
    kept = []
    with (
        cpu_as_gpu(),
        torch.autograd.graph.saved_tensors_hooks(
            lambda each: kept.append(each) or each, lambda each: each
        ),
    ):
        norm(x)
    volumes = [each for each in kept if each.numel() == x.numel()]
    assert [each.data_ptr() for each in volumes] == [x.data_ptr()]


def test_resampling_keeps_the_layout_and_the_values():
    x = torch.randn(2, 3, 4, 6, 4)
    last = x.contiguous(memory_format=LAYOUT)
    for resample in (average_pool, repeat_voxels):
        made = resample(last, (1, 2, 2))
        assert torch.equal(made, resample(x, (1, 2, 2)))
        assert made.is_contiguous(memory_format=LAYOUT)


def test_nothing_undoes_the_layout_of_a_gpu():
    """Every convolution of kernel 3 gets its input channels last, in the reduced type."""
    autoencoder, unet = build_autoencoder(SMALL_AE), build_unet(SMALL_LDM, 3)
    x, z = torch.rand(1, 1, 8, 8, 8), latents(1, size=(8, 8, 8))
    calls = {
        autoencoder: lambda: autoencoder.decode(autoencoder.encode(x)[0]),
        unet: lambda: unet(z.contiguous(memory_format=LAYOUT), torch.tensor([5])),
    }
    for net, call in calls.items():
        use_channels_last(net)
        seen: list[tuple] = []

        def note(conv, inputs, seen=seen):
            (volume,) = inputs
            if volume.shape[1] > 3:  # not the image, nor the latent
                seen.append((volume.dtype, volume.is_contiguous(memory_format=LAYOUT)))

        for module in net.modules():
            if isinstance(module, nn.Conv3d) and module.kernel_size[0] == 3:
                module.register_forward_pre_hook(note)
        with cpu_as_gpu(), torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            call()
        assert len(seen) > 5 and set(seen) == {(torch.bfloat16, True)}
