"""Semantic encoder: slices, attention over them, pretrained backbones."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from helpers.networks import SMALL_ENCODER, count, randomise
from ldae.errors import UserError
from ldae.nets.semantic_encoder import build_encoder


@pytest.mark.parametrize("plane, axis", [("sagittal", 2), ("coronal", 3), ("axial", 4)])
def test_encoder_embeds_slices_of_plane(plane, axis):
    net = build_encoder({**SMALL_ENCODER, "plane": plane}).eval()
    x = torch.rand(2, 1, 32, 40, 36, generator=torch.Generator().manual_seed(0))
    embeddings = net.embed_slices(x)
    assert embeddings.shape == (2, x.shape[axis], 16)
    changed = x.clone()
    changed.select(axis, 7)[1] += 1
    differs = (net.embed_slices(changed) - embeddings).abs().amax(dim=2) > 1e-6
    assert differs.nonzero().tolist() == [[1, 7]]


def test_encoder_accepts_slices_smaller_than_stride():
    net = build_encoder(SMALL_ENCODER).eval()
    assert net.stride == 32
    assert net(torch.rand(1, 1, 12, 16, 5)).shape == (1, net.dim)


def test_encoder_depends_on_slice_order_only_with_positions():
    x = torch.rand(1, 1, 32, 32, 6, generator=torch.Generator().manual_seed(0))
    for position in ("none", "sinusoidal"):
        net = randomise(build_encoder({**SMALL_ENCODER, "position": position})).eval()
        same = torch.allclose(net(x), net(x.flip(4)), rtol=1e-3, atol=1e-4)
        assert same == (position == "none")


def test_encoder_attention_matches_paper_formula():
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


def test_encoder_standardizes_codes():
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
def test_encoder_refuses_invalid_options(change, message):
    with pytest.raises(UserError, match=message):
        build_encoder({**SMALL_ENCODER, **change})


def test_encoder_codes_keep_float32_precision_under_autocast():
    """Rounding to bfloat16 would lose differences between scans beside a large common part."""
    net = randomise(build_encoder(SMALL_ENCODER)).eval()
    with torch.no_grad():
        net.cross_attention.out_proj.bias += 100
    embeddings = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    net.embed_slices = lambda x: embeddings
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(torch.zeros(2, 1, 32, 32, 4))
    torch.testing.assert_close(y, net.aggregate(embeddings).detach())
    assert (y[0] - y[1]).abs().max() < 100 * 2**-8  # one step of bfloat16 at 100


def test_drop_path_leaves_out_blocks_of_a_slice_in_training_alone():
    """By its own draws for each slice, the last block with the rate, earlier ones with less."""
    from timm.layers import DropPath

    shallow = {**SMALL_ENCODER, "attention_dropout": 0.0}
    net, plain = (build_encoder({**shallow, "drop_path_rate": rate}) for rate in (0.4, 0.0))
    rates = [layer.drop_prob for layer in net.modules() if isinstance(layer, DropPath)]
    assert rates == pytest.approx([0.4 / 3, 0.8 / 3, 0.4])  # the first block is never left out
    assert not any(isinstance(layer, DropPath) for layer in plain.modules())
    randomise(net)
    plain.load_state_dict(net.state_dict())
    x = torch.rand(1, 1, 32, 32, 1).expand(-1, -1, -1, -1, 6)
    assert torch.equal(net.eval()(x), plain.eval()(x))
    embedded = net.train().embed_slices(x)[0]
    assert len({tuple(row.tolist()) for row in embedded}) > 1  # of six equal slices
    assert not net.skip_empty_slices and plain.skip_empty_slices
    torch.manual_seed(3)
    first = net(x)
    torch.manual_seed(3)
    assert torch.equal(net(x), first)
