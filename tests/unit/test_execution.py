"""Execution of networks: checkpointing, compilation and slice batches do not change results."""

import copy

import pytest
import torch
import torch._dynamo.testing
from torch import nn

from helpers.networks import SMALL_AE, SMALL_ENCODER, SMALL_LDM, latents, randomise
from ldae.errors import UserError
from ldae.nets import semantic_encoder
from ldae.nets.autoencoder import build_autoencoder, build_discriminator
from ldae.nets.execution import apply_execution_options
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.unet import build_unet

LDM = {**SMALL_LDM, "dropout": 0.3}


def autoencoder() -> tuple[nn.Module, list]:
    net = build_autoencoder(SMALL_AE)
    return net, [lambda x: net.decode(net.encode(x)[0]), [torch.rand(1, 1, 8, 8, 8)]]


def shallow_autoencoder() -> tuple[nn.Module, list]:
    net = build_autoencoder({**SMALL_AE, "channels": [4], "norm_num_groups": 2})
    return net, [lambda x: net.decode(net.encode(x)[0]), [torch.rand(1, 1, 4, 4, 4)]]


def shallow_unet() -> tuple[nn.Module, list]:
    net = build_unet({**LDM, "channel_mult": [1], "attention_factors": [1]}, 3)
    return net, [net, [latents(), torch.tensor([5, 700])]]


def unet() -> tuple[nn.Module, list]:
    net = build_unet(LDM, 3)
    return net, [net, [latents(), torch.tensor([5, 700])]]


def guided() -> tuple[nn.Module, list]:
    net = build_guided_unet(build_unet(LDM, 3), LDM, 6)
    call = [latents(), torch.tensor([5, 700]), torch.ones(2, 6)]
    return net, [lambda *args: sum(net(*args)), call]


def encoder() -> tuple[nn.Module, list]:
    net = build_encoder(SMALL_ENCODER)
    return net, [net, [torch.rand(2, 1, 32, 32, 5, generator=torch.Generator().manual_seed(0))]]


NETS = pytest.mark.parametrize("make", [autoencoder, unet, guided, encoder])


def result_and_gradients(net: nn.Module, call, args) -> tuple[torch.Tensor, dict]:
    net.zero_grad()
    torch.manual_seed(0)  # of the dropout
    out = call(*args)
    out.square().mean().backward()
    grads = {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}
    return out.detach(), grads


def saved_numbers(call, args) -> int:
    """Count of numbers that the graph saves for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call(*args)
    return sum(kept.values())


@NETS
def test_activation_checkpointing_keeps_gradients_and_saves_memory(make):
    net, (call, args) = make()
    randomise(net).train()
    out, grads = result_and_gradients(net, call, args)
    full = saved_numbers(call, args)
    apply_execution_options(net, {"checkpointing": True})
    again, recomputed = result_and_gradients(net, call, args)
    assert torch.equal(again, out)
    assert recomputed.keys() == grads.keys()
    assert len(grads) > 0
    for key, value in grads.items():
        torch.testing.assert_close(recomputed[key], value, msg=key)
    assert saved_numbers(call, args) < 0.25 * full
    apply_execution_options(net, {})
    assert saved_numbers(call, args) == full


@pytest.mark.parametrize("make", [shallow_autoencoder, shallow_unet, encoder])
def test_compiled_networks_keep_results_and_parameter_names(make):
    net, (call, args) = make()
    randomise(net).train()
    names = list(net.state_dict())
    out, grads = result_and_gradients(net, call, args)
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    apply_execution_options(net, {"compile": True}, backend=counter)
    again, compiled = result_and_gradients(net, call, args)
    assert counter.frame_count > 0
    assert list(net.state_dict()) == names
    torch.testing.assert_close(again, out)
    for key, value in grads.items():
        torch.testing.assert_close(compiled[key], value, msg=key)


def test_builders_set_checkpointing_and_copies_are_independent():
    net = build_unet({**LDM, "checkpointing": True}, 3)
    assert net.down.checkpointing and net.up.checkpointing
    ae = build_autoencoder({**SMALL_AE, "checkpointing": True})
    assert ae.encoder.checkpointing and ae.decoder.checkpointing
    clone = copy.deepcopy(ae)
    apply_execution_options(clone, {})
    assert ae.encoder.checkpointing and not clone.encoder.checkpointing
    with torch.no_grad():
        clone.encoder.blocks[0].conv.bias += 1
    x = torch.rand(1, 1, 8, 8, 8)
    assert not torch.equal(clone.encode(x)[0], ae.encode(x)[0])


def test_all_attention_is_fused(monkeypatch):
    """Every attention uses torch's kernels, which store no attention matrix."""
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def spy(*args, **kwargs):
        calls.append(args[0].shape)
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    _, (call, args) = guided()
    call(*args)
    # Levels 1 and 2 with attention at 2: 1 block down, 2 up, 1 in the middle; up and middle twice.
    assert len(calls) == 1 + 2 * (1 + 2)
    calls.clear()
    _, (call, args) = encoder()
    call(*args)
    assert len(calls) == 1
    assert not any("attn" in key for key in build_autoencoder(SMALL_AE).state_dict())


def test_frozen_parts_record_no_graph():
    net, (_, (z, t, y)) = guided()
    randomise(net).train()
    features, _ = net.unet.encode(z, t)
    assert not features[-1].requires_grad
    runs = []
    net.unet.down.register_forward_hook(lambda *_: runs.append("down"))
    net.unet.time.register_forward_hook(lambda *_: runs.append("time"))
    net(z, t, y)[1].sum().backward()
    assert sorted(runs) == ["down", "time"]  # once for both


# --- slices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"slice_batch": 3}, {"slice_batch": 3, "checkpointing": True}])
def test_slice_batches_equal_all_slices_at_once(change):
    net, (call, args) = encoder()
    state = randomise(net).state_dict()
    out, grads = result_and_gradients(net.eval(), call, args)
    batched = build_encoder({**SMALL_ENCODER, "slice_batch": change["slice_batch"]})
    batched.load_state_dict(state)
    apply_execution_options(batched, change).eval()
    sizes = []
    batched.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    again, batched_grads = result_and_gradients(batched, batched, args)
    assert set(sizes) == {3, 1}  # 10 slices
    torch.testing.assert_close(again, out)
    for key, value in grads.items():
        torch.testing.assert_close(batched_grads[key], value, msg=key, rtol=1e-4, atol=1e-5)


def test_empty_slices_are_embedded_once():
    net, (_, (x,)) = encoder()
    state = randomise(net).state_dict()
    x[0, ..., [0, 1, 4]] = 0
    x[1, ..., 0] = 0
    out, grads = result_and_gradients(net.eval(), net, [x])
    skipping = build_encoder({**SMALL_ENCODER, "skip_empty_slices": True}).eval()
    skipping.load_state_dict(state)
    sizes = []
    skipping.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    again, skipped = result_and_gradients(skipping, skipping, [x])
    torch.testing.assert_close(skipping.embed_slices(x), net.embed_slices(x))
    torch.testing.assert_close(again, out)
    for key, value in grads.items():
        torch.testing.assert_close(skipped[key], value, msg=key, rtol=1e-4, atol=1e-5)
    skipping(torch.rand(1, 1, 32, 32, 5))
    skipping(torch.zeros(1, 1, 32, 32, 5))
    assert sizes == [7, 7, 5, 1]  # 6 of 10 and an empty one; none empty; all empty


def test_skipping_empty_slices_is_refused_with_batch_normalisation():
    cfg = {**SMALL_ENCODER, "backbone": "resnet10t", "backbone_kwargs": {}}
    assert build_encoder(cfg).dim % 4 == 0
    with pytest.raises(UserError, match="without batch normalisation"):
        build_encoder({**cfg, "skip_empty_slices": True})


def test_slice_positions_interleave_sine_and_cosine():
    code = semantic_encoder.slice_positions(4, 6)
    assert code.shape == (4, 6)
    torch.testing.assert_close(code[:, 0], torch.arange(4.0).sin())
    torch.testing.assert_close(code[:, 1], torch.arange(4.0).cos())
    torch.testing.assert_close(code[3, 4], torch.tensor(3 * 10000 ** (-4 / 6)).sin())


def test_encoder_layer_norm_at_the_output():
    net = build_encoder({**SMALL_ENCODER, "layer_norm": "output"}).eval()
    y = net(torch.rand(2, 1, 32, 32, 5))
    torch.testing.assert_close(y.mean(dim=1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(dim=1, correction=0), torch.ones(2), atol=1e-2, rtol=0)
    state = build_encoder(SMALL_ENCODER).state_dict()
    assert state.keys() == net.state_dict().keys()


# --- bfloat16 on CPUs ----------------------------------------------------------------------------


def test_cpu_bfloat16_refuses_undefined_convolution_gradients():
    """Measured: the weight gradient of such a convolution is not the float32 one."""
    ae = build_autoencoder(SMALL_AE)
    x = torch.rand(1, 1, 4, 8, 8)  # latents two voxels wide along x
    discriminator = build_discriminator({"channels": 4, "num_layers": 1})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(UserError, match=r"of the autoencoder .* set autoencoder.precision"):
            ae.encode(x)
        with pytest.raises(UserError, match=r"of the discriminator .*num_layers"):
            discriminator(torch.rand(1, 1, 8, 16, 16))
        with torch.no_grad():
            ae.encode(x)
        discriminator(torch.rand(1, 1, 16, 16, 16))[-1].mean().backward()
    ae.encode(x)[0].sum().backward()
    ae.requires_grad_(False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ae.encode(x)
