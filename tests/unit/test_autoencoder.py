"""Autoencoder and discriminator: output shapes, pretrained weights."""

import pytest
import torch
from safetensors.torch import save_file

from helpers.networks import SMALL_AE
from ldae.errors import UserError
from ldae.nets.autoencoder import build_autoencoder, build_discriminator
from ldae.nets.pretrained import load_weights


def test_autoencoder_and_discriminator_output_shapes():
    net = build_autoencoder(SMALL_AE).eval()
    mean, sigma = net.encode(torch.rand(1, 1, 8, 8, 8))
    assert mean.shape == sigma.shape == (1, 3, 4, 4, 4)
    assert net.decode(mean).shape == (1, 1, 8, 8, 8)
    logits = build_discriminator({"channels": 4, "num_layers": 2})(torch.rand(1, 1, 16, 16, 16))[-1]
    assert logits.shape[:2] == (1, 1)


def test_autoencoder_refuses_pretrained_weights_and_names_keys(tmp_path):
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
        build_autoencoder({**SMALL_AE, "pretrained": str(path)})
    state[key] = torch.zeros(7)
    del state[f"{key}_old"]
    save_file(state, path)
    with pytest.raises(UserError, match=rf"other shape: {key} \(7,\) instead of \(3,\)"):
        build_autoencoder({**SMALL_AE, "pretrained": str(path)})
