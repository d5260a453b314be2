"""Ways of running a network change neither results nor names: recomputed, compiled, in parts."""

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
    """How many numbers the graph keeps for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call(*args)
    return sum(kept.values())


@NETS
def test_recomputed_activations_give_equal_gradients_and_keep_less(make):
    net, (call, args) = make()
    randomise(net).train()
    out, grads = result_and_gradients(net, call, args)
    whole = saved_numbers(call, args)
    apply_execution_options(net, {"checkpointing": True})
    again, recomputed = result_and_gradients(net, call, args)
    assert torch.equal(again, out)
    assert recomputed.keys() == grads.keys()
    assert len(grads) > 0
    for key, value in grads.items():
        torch.testing.assert_close(recomputed[key], value, msg=key)
    assert saved_numbers(call, args) < 0.25 * whole
    apply_execution_options(net, {})
    assert saved_numbers(call, args) == whole


@pytest.mark.parametrize("make", [shallow_autoencoder, shallow_unet, encoder])
def test_compiled_networks_keep_results_and_names(make):
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


def test_builders_read_the_keys_and_copies_stay_apart():
    net = build_unet({**LDM, "checkpointing": True}, 3)
    assert net.down.checkpointing and net.up.checkpointing
    ae = build_autoencoder({**SMALL_AE, "checkpointing": True})
    assert ae.encoder.checkpointing and ae.decoder.checkpointing
    twin = copy.deepcopy(ae)
    apply_execution_options(twin, {})
    assert ae.encoder.checkpointing and not twin.encoder.checkpointing
    with torch.no_grad():
        twin.encoder.blocks[0].conv.bias += 1
    x = torch.rand(1, 1, 8, 8, 8)
    assert not torch.equal(twin.encode(x)[0], ae.encode(x)[0])


def test_all_attention_is_fused(monkeypatch):
    """Every attention goes through torch's kernels that keep no matrix of weights."""
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def spy(*args, **kwargs):
        calls.append(args[0].shape)
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    _, (call, args) = guided()
    call(*args)
    # Levels of 1 and 2: attention at 2; 1 block down, 2 up; 1 in the middle; up and middle twice.
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
def test_slices_in_parts_equal_all_at_once(change):
    net, (call, args) = encoder()
    state = randomise(net).state_dict()
    out, grads = result_and_gradients(net.eval(), call, args)
    parts = build_encoder({**SMALL_ENCODER, "slice_batch": change["slice_batch"]})
    parts.load_state_dict(state)
    apply_execution_options(parts, change).eval()
    sizes = []
    parts.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    again, split = result_and_gradients(parts, parts, args)
    assert set(sizes) == {3, 1}  # 10 slices
    torch.testing.assert_close(again, out)
    for key, value in grads.items():
        torch.testing.assert_close(split[key], value, msg=key, rtol=1e-4, atol=1e-5)


def test_empty_slices_are_embedded_once():
    net, (_, (x,)) = encoder()
    state = randomise(net).state_dict()
    x[0, ..., [0, 1, 4]] = 0
    x[1, ..., 0] = 0
    out, grads = result_and_gradients(net.eval(), net, [x])
    lean = build_encoder({**SMALL_ENCODER, "skip_empty_slices": True}).eval()
    lean.load_state_dict(state)
    sizes = []
    lean.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    again, skipped = result_and_gradients(lean, lean, [x])
    torch.testing.assert_close(lean.embed_slices(x), net.embed_slices(x))
    torch.testing.assert_close(again, out)
    for key, value in grads.items():
        torch.testing.assert_close(skipped[key], value, msg=key, rtol=1e-4, atol=1e-5)
    lean(torch.rand(1, 1, 32, 32, 5))
    lean(torch.zeros(1, 1, 32, 32, 5))
    assert sizes == [7, 7, 5, 1]  # 6 of 10 and an empty one; none empty; all empty


def test_batch_norms_of_a_part_of_the_slices_are_refused():
    cfg = {**SMALL_ENCODER, "backbone": "resnet10t", "backbone_kwargs": {}}
    assert build_encoder(cfg).dim % 4 == 0
    with pytest.raises(UserError, match="without batch normalisation"):
        build_encoder({**cfg, "skip_empty_slices": True})


def test_positions_interleave_sine_and_cosine():
    code = semantic_encoder.slice_positions(4, 6)
    assert code.shape == (4, 6)
    torch.testing.assert_close(code[:, 0], torch.arange(4.0).sin())
    torch.testing.assert_close(code[:, 1], torch.arange(4.0).cos())
    torch.testing.assert_close(code[3, 4], torch.tensor(3 * 10000 ** (-4 / 6)).sin())


def test_layer_norm_at_the_output():
    net = build_encoder({**SMALL_ENCODER, "layer_norm": "output"}).eval()
    y = net(torch.rand(2, 1, 32, 32, 5))
    torch.testing.assert_close(y.mean(dim=1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(dim=1, correction=0), torch.ones(2), atol=1e-2, rtol=0)
    state = build_encoder(SMALL_ENCODER).state_dict()
    assert state.keys() == net.state_dict().keys()


# --- bfloat16 on CPUs ----------------------------------------------------------------------------


def test_undefined_gradients_of_autoencoder_and_discriminator_are_refused():
    """Measured: the weight gradient of such a convolution is not the float32 one."""
    ae = build_autoencoder(SMALL_AE)
    x = torch.rand(1, 1, 4, 8, 8)  # latents two voxels wide along x
    judge = build_discriminator({"channels": 4, "num_layers": 1})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(UserError, match=r"of the autoencoder .* set autoencoder.precision"):
            ae.encode(x)
        with pytest.raises(UserError, match=r"of the discriminator .*num_layers"):
            judge(torch.rand(1, 1, 8, 16, 16))
        with torch.no_grad():
            ae.encode(x)
        judge(torch.rand(1, 1, 16, 16, 16))[-1].mean().backward()
    ae.encode(x)[0].sum().backward()
    ae.requires_grad_(False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ae.encode(x)
