"""Parameter counts and sizes of the paper's configuration."""

import importlib

import pytest
import torch

import ldae.nets._torchvision  # noqa: F401

# isort: split
from helpers.networks import PAPER, count
from ldae.errors import UserError
from ldae.nets.autoencoder import build_autoencoder, build_discriminator
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.shapes import check_shapes, latent_shape
from ldae.nets.unet import build_unet


def test_torchvision_repair_lets_other_errors_through(monkeypatch):
    from ldae.nets import _torchvision

    assert _torchvision._repair() is None  # already imported: nothing to repair

    def fail(name: str) -> None:
        raise RuntimeError(f"{name} is broken in another way")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="another way"):
        _torchvision._repair()


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


def test_check_shapes_accepts_paper_sizes_and_refuses_others():
    ae, ldm = PAPER["autoencoder"], PAPER["ldm"]
    check_shapes(PAPER["volumes"]["shape"], ae, ldm)
    assert latent_shape(PAPER["volumes"]["shape"], ae) == (3, 16, 20, 16)
    with pytest.raises(UserError, match=r"y side of 150 .* multiple of 32 .* use 128 or 160"):
        check_shapes([128, 150, 128], ae, ldm)
    with pytest.raises(UserError, match=r"x side of 16 .* use 32"):
        check_shapes([16, 160, 128], ae, ldm)
    check_shapes([8, 160, 128], ae, {**ldm, "resample": "inner_axes"})
    with pytest.raises(UserError, match="three numbers"):
        check_shapes([128, 128], ae, ldm)
