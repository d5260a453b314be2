"""Published weights: converted to these networks, the same tensors give the same outputs."""

import collections
import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import ldae.nets._torchvision  # noqa: F401

# isort: split
import timm
import torchvision

from helpers.models import load_ldae
from helpers.networks import SMALL_AE, randomise
from helpers.stores import write_store
from ldae.cli.main import main
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.evaluation.guidance import evaluate_guidance
from ldae.inference.embeddings import embed, ldae_encoder, untrained_encoder
from ldae.models.loading import load
from ldae.models.published.authors_model import ARCHITECTURE, PARTS, published_files
from ldae.models.published.convert import convert, read_part
from ldae.nets.autoencoder import build_autoencoder
from ldae.nets.pretrained import (
    MONAI_RULES,
    monai_autoencoder,
    rename,
    timm_convnext,
    without_alias,
)
from ldae.nets.torch_files import read_torch_file

# Names and shapes of small instances of the authors' encoder and decoder, listed from these.
NAMES = Path(__file__).parents[1] / "data/published_names.tsv"
ALIAS, ORIGINAL = "slice_distributed.module.backbone.", "backbone.backbone."
SMALL = {
    "autoencoder": {
        "channels": [8, 16],
        "num_res_blocks": 1,
        "latent_channels": 3,
        "norm_num_groups": 4,
    },
    "ldm": ARCHITECTURE["ldm"]
    | {
        "base_channels": 32,
        "channel_mult": [1, 2],
        "num_res_blocks": 1,
        "attention_factors": [2],
        "num_heads": 2,
    },
    "encoder": ARCHITECTURE["encoder"]
    | {
        "backbone": "convnext_tiny",
        "backbone_kwargs": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 24]},
        "num_heads": 4,
    },
    "diffusion": ARCHITECTURE["diffusion"],
}


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def authors_state(network: str) -> dict[str, Tensor]:
    """State dict in the authors' names; each tensor is drawn from its name alone."""
    table = pd.read_csv(NAMES, sep="\t").query("network == @network")
    state = {}
    for name, shape in zip(table["name"], table["shape"], strict=True):
        size = [int(n) for n in shape.split()]
        value = 0.2 * drawn(zlib.crc32(name.removeprefix(ORIGINAL).encode()), *size)
        state[name] = value + (1.0 if len(size) == 1 and name.endswith("weight") else 0.0)
    if network == "encoder":
        length, dim = state["positional_encoding.pe"].shape[1:]
        index, rate = torch.arange(length)[:, None], 10000 ** (-torch.arange(0, dim, 2) / dim)
        state["positional_encoding.pe"][0, :, 0::2] = (index * rate).sin()
        state["positional_encoding.pe"][0, :, 1::2] = (index * rate).cos()
        copies = {k.replace(ORIGINAL, ALIAS): v for k, v in state.items() if k.startswith(ORIGINAL)}
        state |= copies
    return state


def old_autoencoder() -> tuple[torch.nn.Module, dict[str, Tensor]]:
    """An autoencoder of ours and its state dict in the names of MONAI's GenerativeModels."""
    net = randomise(build_autoencoder(SMALL_AE)).eval()
    old = {key.replace(".postconv.", ".conv."): value for key, value in net.state_dict().items()}
    assert old.keys() != net.state_dict().keys()
    return net, old


@pytest.fixture
def files(tmp_path):
    states = {
        "autoencoder": old_autoencoder()[1],
        "encoder": authors_state("encoder"),
        "decoder": authors_state("decoder"),
    }
    for name, state in states.items():
        torch.save(state, tmp_path / f"{name}.pth")
    return {name: tmp_path / f"{name}.pth" for name in states}


def test_published_networks_reproduce_authors_outputs(files, tmp_path):
    """The expected outputs are of the authors' own modules, with these names and draws."""
    convert(**files, out=tmp_path / "models", architecture=SMALL)
    model = load(tmp_path / "models/ldae")
    with torch.no_grad():
        eps, g = model.net(drawn(0, 2, 3, 4, 4, 4), torch.tensor([3, 700]), drawn(1, 2, 24))
        y_sem = model.encoder(
            3 * torch.randn(2, 1, 32, 36, 6, generator=torch.Generator().manual_seed(2))
        )
    for found, expected, mean in (
        (eps, [2.245676, 4.226476, -1.833295, -3.71706], 2.2993920),
        (g, [0.43381, -4.509579, 1.25984, -0.04689], 1.8969933),
    ):
        some = torch.cat([found[:, 1, 2, 1, 3], found[:, 0, 0, 3, 0]])
        torch.testing.assert_close(some, torch.tensor(expected), rtol=1e-4, atol=1e-4)
        assert found.abs().mean().item() == pytest.approx(mean, rel=1e-4)
    expected = torch.tensor([0.611316, -2.064542, 0.875898, -0.590407, -1.043967, -0.375902])
    torch.testing.assert_close(y_sem[:, ::8].flatten(), expected, rtol=1e-3, atol=1e-4)

    net, _ = old_autoencoder()
    x = torch.rand(1, 1, 8, 8, 8)
    autoencoder = load(tmp_path / "models/autoencoder")
    with torch.no_grad():
        assert torch.equal(autoencoder.net.encode(x)[0], net.encode(x)[0])
    assert model.card["published"] is True
    assert model.card["latent_scale"] == 0.8730
    assert model.card["autoencoder_sha256"] == autoencoder.card["sha256"]
    assert any("test subjects may be among them" in flag for flag in model.card["flags"])


def test_convert_takes_ema_weights_of_checkpoint_with_foreign_objects(files, tmp_path):
    state = {f"ema_encoder.{key}": value for key, value in authors_state("encoder").items()}
    state |= {f"ema_decoder.{key}": value for key, value in authors_state("decoder").items()}
    state |= {f"encoder.{key}": value + 1 for key, value in authors_state("encoder").items()}
    state |= {f"vae.{key}": value for key, value in old_autoencoder()[1].items()}
    hyper = {"lr": 2.5e-5, "args": collections.Counter("ab"), "where": Path("x"), "of": json.loads}
    torch.save({"state_dict": state, "hyper_parameters": hyper}, tmp_path / "best.ckpt")
    convert(**files, out=tmp_path / "apart", architecture=SMALL)
    convert(*[tmp_path / "best.ckpt"] * 3, out=tmp_path / "whole", architecture=SMALL)
    for name in ("autoencoder", "ldm", "ldae"):
        cards = [load(tmp_path / folder / name).card for folder in ("apart", "whole")]
        assert cards[0]["sha256"] == cards[1]["sha256"]


def test_published_models_need_volume_store_given_to_convert(files, tmp_path):
    index = pd.DataFrame(
        {
            "scan_id": ["a", "b"],
            "participant_id": ["sub-1", "sub-2"],
            "split": ["train", "test"],
        }
    )
    volumes = np.zeros((2, 1, 32, 32, 8), np.float32)
    write_store(tmp_path / "volumes", index, {"kind": "volumes"}, volumes=volumes)
    for name, store in (("tied", tmp_path / "volumes"), ("free", None)):
        convert(**files, out=tmp_path / name, volumes=store, architecture=SMALL)
    cfg = {"guidance": "sqrt_one_minus_ab"}
    tied, free = (load_ldae(tmp_path / name, cfg) for name in ("tied", "free"))
    assert tied.scale == 0.8730
    assert len(tied.volume_store(tmp_path / "volumes")) == 2
    assert tied.y_sem(torch.zeros(1, 1, 32, 32, 6)).shape == (1, 24)
    with pytest.raises(UserError, match="does not state the shape"):
        free.volume_store(tmp_path / "volumes")


def test_published_models_are_evaluated_with_their_own_latent_scale(files, tmp_path):
    """Embeddings and the loss on test scans, from stores whose latents have another scale."""
    subjects = [f"sub-{number}" for number in range(4)]
    index = pd.DataFrame(
        {
            "scan_id": [f"{name}_ses-1" for name in subjects],
            "participant_id": subjects,
            "split": ["train", "train", "test", "test"],
        }
    )
    volumes = drawn(5, 4, 1, 32, 36, 6).sigmoid().numpy()
    write_store(tmp_path / "volumes", index, {"kind": "volumes"}, volumes=volumes)
    convert(**files, out=tmp_path, volumes=tmp_path / "volumes", architecture=SMALL)
    system = load_ldae(tmp_path, {"guidance": "sqrt_one_minus_ab"})

    means = drawn(6, 4, 3, 4, 4, 4).numpy()
    card = {"kind": "latents", "scale": 3.0, "source": "mean"}
    card["volumes"] = VolumeStore(tmp_path / "volumes").content_hash
    card["autoencoder"] = system.card["autoencoder_sha256"]
    write_store(tmp_path / "latents", index, card, mean=means, std=0 * means)
    z_0 = system.latents(system.latent_store(tmp_path / "latents"), np.arange(4))
    torch.testing.assert_close(z_0, 0.8730 * torch.from_numpy(means))

    for name, encoder in (("ldae", ldae_encoder), ("untrained", untrained_encoder)):
        out = tmp_path / f"{name}.npz"
        embed(name, encoder, tmp_path / "ldae", tmp_path / "volumes", out, "cpu", 1)
    stored = system.stored_codes(tmp_path / "ldae.npz", index["scan_id"])
    codes = system.y_sem(torch.from_numpy(volumes))
    np.testing.assert_allclose(stored, codes, rtol=1e-4, atol=1e-5)
    outputs = [tmp_path / f"{name}.tsv" for name in ("scans", "table", "differences")]
    cfg = {"max_scans": None, "batch_size": 2, "bootstrap": 5}
    where = (tmp_path / "latents", tmp_path / "ldae.npz")
    evaluate_guidance(system, *where, *outputs, cfg, seed=0)
    table = pd.read_csv(outputs[1], sep="\t").query("quartile == 'all' and metric == 'loss'")
    assert set(table["system"]) == {"ldm", "right_y_sem", "wrong_y_sem", "mean_y_sem"}
    assert np.isfinite(table["value"]).all() and table["value"].nunique() == 4


def test_published_files_must_all_be_given():
    nothing = dict.fromkeys((*PARTS, "ldae"))
    assert published_files(nothing) == {}
    assert published_files(nothing | {"ldae": "a"}) == dict.fromkeys(PARTS, "a")
    mixed = published_files(nothing | {"ldae": "a", "encoder": "b"})
    assert mixed == {"autoencoder": "a", "encoder": "b", "decoder": "a"}
    with pytest.raises(UserError, match=r"published\.encoder and published\.decoder must be given"):
        published_files(nothing | {"autoencoder": "a"})


class Call:
    """Object that calls a function when it is unpickled without restrictions."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def test_read_torch_file_runs_no_code(tmp_path):
    source, path = tmp_path / "source", tmp_path / "a.pth"
    source.write_text("x")
    copied = Call(shutil.copyfile, str(source), str(tmp_path / "trace"))
    torch.save({"w": torch.ones(2), "x": copied}, path)
    content = read_torch_file(path, "--encoder")
    assert torch.equal(content["w"], torch.ones(2))
    torch.save({"w": torch.ones(2), "x": Call(os.mkdir, str(tmp_path / "trace"))}, path)
    with pytest.raises(UserError, match=r"a\.pth cannot be read safely: .*posix"):
        read_torch_file(path, "--encoder")
    assert not (tmp_path / "trace").exists()
    path.write_bytes(b"not a file of torch")
    with pytest.raises(UserError, match=r"not a file of torch\.save"):
        read_torch_file(path, "--encoder")
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="holds no state dict"):
        read_part(path, "--encoder")


@pytest.mark.parametrize(
    "network, key",
    [
        ("autoencoder", "post_quant_conv.conv.bias"),
        ("encoder", "layer_norm_after_attention.bias"),
        ("decoder", "shift_output_blocks.0.0.emb_z_layers.1.bias"),
    ],
)
def test_convert_names_missing_and_unexpected_tensors(files, tmp_path, network, key, capsys):
    state = torch.load(files[network])
    state["another.thing"] = state.pop(key)
    torch.save(state, files[network])
    with pytest.raises(UserError, match=r"missing: .*unexpected: another\.thing"):
        convert(**files, out=tmp_path / "models", architecture=SMALL)


def test_convert_refuses_other_positions_and_unequal_aliases(files, tmp_path):
    state = authors_state("encoder")
    state["positional_encoding.pe"] = state["positional_encoding.pe"] + 0.1
    torch.save(state, files["encoder"])
    with pytest.raises(UserError, match="differs from the slice positions"):
        convert(**files, out=tmp_path / "models", architecture=SMALL)
    with pytest.raises(UserError, match=r"b\.w should be a second name of a\.w"):
        without_alias({"a.w": torch.ones(1), "b.w": torch.zeros(1)}, "b.", "a.")


def test_convert_command_line_names_missing_arguments(files, tmp_path, capsys):
    command = ["convert-weights", f"--out={tmp_path}"]
    assert main([*command, f"--encoder={files['encoder']}"]) == 1
    assert "--autoencoder and --decoder must be given" in capsys.readouterr().err
    assert main(command) == 1
    assert "or --ldae with all three" in capsys.readouterr().err
    arguments = [f"--{name}={path}" for name, path in files.items()]
    assert main([*command, *arguments]) == 1  # small tensors in the published sizes
    assert "other shape" in capsys.readouterr().err


def test_monai_rules_rename_bundle_attention_and_keep_monai_names():
    old = ["encoder.blocks.3.to_q.weight", "decoder.blocks.1.proj_attn.bias"]
    assert [rename(key, MONAI_RULES) for key in old] == [
        "encoder.blocks.3.attn.to_q.weight",
        "decoder.blocks.1.attn.out_proj.bias",
    ]
    state = build_autoencoder(SMALL_AE).state_dict()
    assert monai_autoencoder(state).keys() == state.keys()


def test_autoencoder_loads_pretrained_bundle_file(tmp_path):
    net, old = old_autoencoder()
    torch.save(old, tmp_path / "autoencoder.pt")
    started = build_autoencoder({**SMALL_AE, "pretrained": tmp_path / "autoencoder.pt"})
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in started.state_dict().items())


def test_timm_convnext_renames_torchvision_weights():
    """All 344 names and shapes of ConvNeXt-Small, and equal features of a small one."""
    with torch.device("meta"):
        ours = timm.create_model("convnext_small", pretrained=False).state_dict()
        named = timm_convnext(torchvision.models.convnext_small().state_dict())
    assert {k: v.shape for k, v in named.items()} == {k: v.shape for k, v in ours.items()}
    assert timm_convnext(ours) == ours

    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    sizes = [(8, 16), (16, 16), (16, 24), (24, None)]
    net = randomise(ConvNeXt([CNBlockConfig(a, b, 1) for a, b in sizes])).eval()
    kwargs = {"depths": [1, 1, 1, 1], "dims": [8, 16, 16, 24]}
    same = timm.create_model("convnext_tiny", pretrained=False, **kwargs).eval()
    same.load_state_dict(timm_convnext(net.state_dict()))
    x = drawn(0, 1, 3, 32, 32)
    torch.testing.assert_close(same(x), net(x))
