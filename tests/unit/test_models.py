"""Model files: saved and restored bit for bit, or refused."""

import json

import pytest
import torch

from helpers.networks import PAPER, SMALL_AE, SMALL_ENCODER, SMALL_LDM
from ldae import __version__
from ldae.errors import UserError
from ldae.models.card import departures
from ldae.models.loading import load, load_autoencoder, load_encoder, load_ldae, load_ldm
from ldae.models.storage import CARD, TENSORS, ldae_state, load_card, load_state, save_model
from ldae.nets.autoencoder import build_autoencoder
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.preconditioning import Preconditioning
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.unet import build_unet

# Files of pretrained parts are needed to start a training, not to restore its model.
ABSENT = {"pretrained": "gone/after/training.safetensors"}
AE, LDM, ENCODER = SMALL_AE | ABSENT, SMALL_LDM, SMALL_ENCODER | ABSENT | {"standardize": True}


def filled(net):
    """Give every floating tensor of the state a value, as training would."""
    generator = torch.Generator().manual_seed(3)
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + 0.1)
    return net


def same(net, state) -> bool:
    own = net.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[k], state[k]) for k in own)


@pytest.fixture
def folders(tmp_path):
    """Saved ldm, and an ldae whose card names it: (folder, unet, encoder, guided)."""
    unet = filled(build_unet(LDM, 3))
    ldm_card = save_model(
        tmp_path / "ldm",
        unet.state_dict(),
        {"kind": "ldm", "architecture": LDM, "latent_channels": 3, "latent_scale": 0.87},
    )
    encoder = filled(build_encoder({**ENCODER, "pretrained": None}))
    guided = build_guided_unet(unet, LDM, encoder.dim)
    filled(guided.estimator)
    save_model(
        tmp_path / "ldae",
        ldae_state(encoder, guided.estimator),
        {"kind": "ldae", "architecture": ENCODER, "ldm_sha256": ldm_card["sha256"]},
    )
    return tmp_path, unet, encoder, guided


def test_tensors_stored_in_half_precision_are_restored_in_float32(tmp_path):
    state = filled(build_autoencoder({**AE, "pretrained": None})).state_dict()
    half = {key: tensor.half() for key, tensor in state.items()}
    save_model(tmp_path, half, {"kind": "autoencoder", "architecture": AE})
    restored = load_autoencoder(tmp_path)[0].state_dict()
    assert {tensor.dtype for tensor in restored.values()} == {torch.float32}
    for key, tensor in restored.items():
        torch.testing.assert_close(tensor, state[key], rtol=5e-4, atol=0)


def test_autoencoder_round_trip(tmp_path):
    net = filled(build_autoencoder({**AE, "pretrained": None}))
    save_model(tmp_path, net.state_dict(), {"kind": "autoencoder", "architecture": AE, "ssim": 0.9})
    loaded, card = load_autoencoder(tmp_path)
    assert same(loaded, net.state_dict())
    assert card["ssim"] == 0.9
    assert not loaded.training
    assert not any(p.requires_grad or p.is_meta for p in loaded.parameters())
    x = torch.rand(1, 1, 8, 8, 8)
    assert torch.equal(loaded.encode(x)[0], net.eval().encode(x)[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == [CARD, TENSORS]


def test_velocity_prediction_round_trip(tmp_path):
    preconditioning = Preconditioning((3, 4, 4, 4), 1000)
    preconditioning.set(torch.randn(3, 4, 4, 4), torch.linspace(0.99, 0.01, 1000))
    unet = filled(build_unet(LDM, 3, preconditioning)).eval()
    card = {"kind": "ldm", "architecture": LDM, "latent_channels": 3}
    save_model(tmp_path, unet.state_dict(), card | {"preconditioning": preconditioning.card()})
    loaded, _ = load_ldm(tmp_path)
    z, t = torch.randn(2, 3, 4, 4, 4), torch.tensor([1, 500])
    assert torch.equal(loaded(z, t), unet(z, t))


def test_ldm_and_ldae_round_trip(folders):
    root, unet, encoder, guided = folders
    loaded, card = load_ldm(root / "ldm")
    assert same(loaded, unet.state_dict())
    assert card["latent_scale"] == 0.87
    encoder_2, guided_2, card_2 = load_ldae(root / "ldae", root / "ldm")
    assert same(encoder_2, encoder.state_dict())
    assert same(guided_2, guided.state_dict())
    x, z, t = torch.rand(2, 1, 32, 32, 4), torch.randn(2, 3, 4, 4, 4), torch.tensor([1, 500])
    # Frozen like the restored ones: torch's attention rounds differently if trainable.
    encoder.requires_grad_(False)
    with torch.no_grad():
        y = encoder.eval()(x)
        assert torch.equal(encoder_2(x), y)
        expected, got = guided.eval()(z, t, y), guided_2(z, t, y)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])
    alone, alone_card = load_encoder(root / "ldae")
    assert same(alone, encoder.state_dict()) and alone_card == card_2
    assert not any(p.requires_grad for p in alone.parameters()) and not alone.training
    assert not any(m.training for net in (encoder_2, guided_2) for m in net.modules())


def test_ldae_on_another_ldm_is_refused(folders):
    root, unet, *_ = folders
    with torch.no_grad():
        unet.time[0].bias += 1
    card = {"kind": "ldm", "architecture": LDM, "latent_channels": 3}
    save_model(root / "ldm", unet.state_dict(), card)
    with pytest.raises(UserError, match="another diffusion model"):
        load_ldae(root / "ldae", root / "ldm")


def test_loading_refuses_damaged_missing_or_other_kind_of_model(folders):
    root, unet, *_ = folders
    with pytest.raises(UserError, match="of kind ldm, but autoencoder is needed"):
        load_autoencoder(root / "ldm")
    with pytest.raises(UserError, match="no trained model"):
        load_card(root / "nowhere")
    with pytest.raises(UserError, match=r"missing: up\.conv\.bias"):
        state = unet.state_dict()
        del state["up.conv.bias"]
        card = {"kind": "ldm", "architecture": LDM, "latent_channels": 3}
        save_model(root / "partial", state, card)
        load_ldm(root / "partial")
    path = root / "ldae" / TENSORS
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(UserError, match="SHA-256 differs"):
        load_state(root / "ldae")
    path.unlink()
    with pytest.raises(UserError, match=f"lacks {TENSORS}"):
        load_state(root / "ldae")


def test_save_model_refuses_card_without_required_keys(tmp_path):
    with pytest.raises(ValueError, match="kind"):
        save_model(tmp_path, {}, {"architecture": {}})
    with pytest.raises(ValueError, match="lacks latent_channels"):
        save_model(tmp_path, {}, {"kind": "ldm", "architecture": LDM})
    assert list(tmp_path.iterdir()) == []


def test_failed_save_keeps_previous_model(tmp_path):
    card = {"kind": "ldm", "architecture": LDM, "latent_channels": 3}
    save_model(tmp_path, {"a": torch.ones(2)}, card)
    before = json.loads((tmp_path / CARD).read_text())
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError):
        save_model(tmp_path, {"a": shared, "b": shared}, card)
    assert load_card(tmp_path) == before
    assert torch.equal(load_state(tmp_path)["a"], torch.ones(2))


def test_load_restores_every_kind(folders):
    root, unet, encoder, guided = folders
    net = filled(build_autoencoder({**AE, "pretrained": None}))
    settings = {**AE, "checkpointing": True, "compile": True}
    save_model(root / "ae", net.state_dict(), {"kind": "autoencoder", "architecture": settings})
    autoencoder = load(root / "ae")
    assert autoencoder.kind == "autoencoder"
    assert same(autoencoder.net, net.state_dict())
    assert not autoencoder.net.encoder.checkpointing  # a setting of training only
    assert same(load(root / "ldm").net, unet.state_dict())
    system = load(root / "ldae")  # finds the ldm beside it
    assert same(system.encoder, encoder.state_dict())
    assert same(system.net, guided.state_dict())
    assert system.card["sha256"] == load_card(root / "ldae")["sha256"]
    (root / "ldm").rename(root / "elsewhere")
    assert same(load(root / "ldae", root / "elsewhere").net, guided.state_dict())
    with pytest.raises(UserError, match=r"no trained model in .*ldm"):
        load(root / "ldae")
    card = load_card(root / "ae")
    (root / "ae" / CARD).write_text(json.dumps({**card, "kind": "voxel"}))
    with pytest.raises(UserError, match="of kind 'voxel'; known are autoencoder, ldm, ldae"):
        load(root / "ae")


def test_card_states_versions_departures_and_citation(tmp_path):
    cfg = {**AE, "pretrained": None, "perceptual": {"net": "alex"}}
    card = {
        "kind": "autoencoder",
        "architecture": cfg,
        "flags": ["idle"],
        "versions": {"torch": "2.13"},
        "data": "d",
        "split": "s",
        "metrics": {"ssim": 0.9},
    }
    written = save_model(tmp_path, {"a": torch.ones(1)}, card, flags=["odd"])
    assert written == load_card(tmp_path)
    assert written["flags"] == ["idle", "odd"]
    assert written["versions"] == {"ldae": __version__, "torch": "2.13"}
    assert written["departures"] == [
        "autoencoder trained from scratch, not from UK Biobank weights",
        "perceptual loss by LPIPS with alex, not SqueezeNet",
    ]
    assert "Medical Image Analysis" in written["citation"]
    assert [written[key] for key in ("data", "split", "metrics")] == ["d", "s", {"ssim": 0.9}]
    # Saving a card that was read adds nothing a second time.
    assert save_model(tmp_path, {"a": torch.ones(1)}, written) == written


def test_departures_name_a_linear_encoder_and_no_backbone_that_is_not_there():
    encoder = {"kind": "components", "components": {"count": 64}, "backbone": "convnext_atto"}
    (said,) = departures({"kind": "ldae", "architecture": encoder})
    assert said == "y_sem has 64 principal components of volumes in place of a learnt code"
    both = departures({"kind": "ldae", "architecture": encoder | {"kind": "both"}})
    assert "beside a learnt code" in both[0] and "backbone convnext_atto" in both[1]


def test_departures_list_only_deviations_from_paper():
    for kind, cfg in (
        ("autoencoder", PAPER["autoencoder"]),
        ("ldm", PAPER["ldm"]),
        ("ldae", PAPER["ldae"]["encoder"]),
    ):
        assert departures({"kind": kind, "architecture": cfg}) == []
    diffusion = PAPER["diffusion"]
    assert departures({"kind": "ldae", "architecture": {}, "diffusion": diffusion}) == []
    other = {"kind": "ldae", "architecture": {}, "diffusion": diffusion | {"gamma": -1}}
    assert departures(other) == ["loss weighted with gamma -1, not 0.1"]
    velocity = {"preconditioning": {"timesteps": 1000}, "latents_variance": "between_scans"}
    assert len(departures({"kind": "ldm", "architecture": {}} | velocity)) == 2
    cfg = PAPER["ldae"]["encoder"] | {"backbone": "convnext_atto", "pretrained": None}
    assert len(departures({"kind": "ldae", "architecture": cfg})) == 2
