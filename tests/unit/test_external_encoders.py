"""Encoders of others: built with weights that fit, fed what they ask for, rows of the probes."""

import copy
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from monai.networks.nets import resnet10
from safetensors.torch import save_file
from torch import nn

from helpers.models import run_probes
from ldae.config import check_config
from ldae.config_checks import check_external_encoders
from ldae.data.embeddings import load_embeddings
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.evaluation.probes.target_table import STANDARD
from ldae.inference.external_encoder import embed_with, normalised, on_grid
from ldae.nets.volume_encoders import VolumeEncoder, build_encoder

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
PAPER = yaml.safe_load((ROOT / "config/config.yaml").read_text())
RESNET = {"n_input_channels": 1, "num_classes": 12, "widen_factor": 0.0625}


class Tokens(nn.Module):
    """Tokens (B, N, d) of patches, first in a tuple, as a vision transformer gives them."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv3d(1, 12, 8, 8)

    def forward(self, x: torch.Tensor):
        """Tokens, and something else."""
        return self.patches(x).flatten(2).transpose(1, 2), x


GRID = {"shape": [16, 16, 16], "spacing": None}


def saved(net: nn.Module, path) -> str:
    """File of a network's random weights."""
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    return str(path)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory) -> dict[str, tuple[dict, nn.Module]]:
    """An encoder of each kind: its section of the configuration, and the same network."""
    import timm  # after the repair of torchvision

    folder = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    resnet, tokens = resnet10(spatial_dims=3, **RESNET).eval(), Tokens().eval()
    pictures = timm.create_model("test_resnet").eval()
    traced = torch.jit.trace(resnet, torch.rand(1, 1, 16, 16, 16))
    traced.save(str(folder / "traced.pt"))
    torch.jit.script(tokens).save(str(folder / "tokens.pt"))
    common = {"grid": GRID, "normalise": "zscore_brain"}
    return {
        "monai": (
            common
            | {
                "kind": "monai",
                "network": "resnet10",
                "arguments": {"spatial_dims": 3, **RESNET},
                "path": saved(resnet, folder / "resnet.safetensors"),
            },
            resnet,
        ),
        "tokens": (
            common | {"kind": "torchscript", "pool": "first", "path": str(folder / "tokens.pt")},
            tokens,
        ),
        "timm": (
            common
            | {
                "kind": "timm",
                "network": "test_resnet",
                "path": saved(pictures, folder / "pictures.safetensors"),
            },
            pictures,
        ),
        "torchscript": (
            common | {"kind": "torchscript", "path": str(folder / "traced.pt")},
            resnet,
        ),
    }


def expected(name: str, net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Vectors of volumes by the network itself."""
    if name == "tokens":
        return net(x)[0][:, 0]
    if name == "timm":
        net = copy.deepcopy(net)
        net.reset_classifier(0)
        return torch.stack(
            [net(volume.permute(3, 0, 1, 2).expand(-1, 3, -1, -1)).mean(0) for volume in x]
        )
    return net(x)


@pytest.mark.parametrize("name", ["monai", "tokens", "timm", "torchscript"])
def test_vectors_are_those_of_the_network_on_its_own_grid(encoders, project, tmp_path, name):
    about, net = encoders[name]
    out = tmp_path / "theirs.npz"
    embed_with("theirs", about, project / "volumes", out, "cpu", 1, 3)
    store = VolumeStore(project / "volumes")
    scans, vectors = load_embeddings(out, volumes=store.content_hash)
    assert scans == store.index["scan_id"].tolist()
    x = store.volumes(np.arange(4))
    x = normalised(on_grid(x, store.spacing, [16, 16, 16], None), "zscore_brain")
    with torch.inference_mode():
        wanted = expected(name, net, x)
    assert vectors.shape == (len(store), wanted.shape[1])
    assert np.allclose(vectors[:4], wanted, atol=1e-4)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-6


def test_an_encoder_is_a_row_of_the_probes(encoders, project, tmp_path):
    out = tmp_path / "theirs.npz"
    embed_with("theirs", encoders["monai"][0], project / "volumes", out, "cpu", 1, "auto")
    run_probes(project, tmp_path, embeddings={"ldae": project / "ldae.npz", "theirs": out})
    table = pd.read_csv(tmp_path / "probes.tsv", sep="\t")
    assert {"ldae", "theirs"} <= set(table["system"])
    differences = pd.read_csv(tmp_path / "probes_differences.tsv", sep="\t")
    assert "theirs" in set(differences.to_numpy().ravel())


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("monai", {"network": "ResNet999"}, "MONAI has no network 'ResNet999'"),
        ("timm", {"network": "resnet999"}, "timm has no network 'resnet999'"),
        ("monai", {"arguments": {"depth": 3}}, r"theirs\.arguments: resnet10 refuses them"),
        ("monai", {"path": "nowhere.safetensors"}, "nowhere.safetensors do not exist"),
        ("torchscript", {"path": "nowhere.pt"}, "nowhere.pt does not exist"),
        ("torchscript", {"path": __file__}, "not a whole file of torch.jit.save"),
        ("tokens", {"pool": "none"}, "no vector each. Set pool: mean, or first"),
        (
            "tokens",
            {"grid": {"shape": [4, 4, 4], "spacing": None}},
            "does not take volumes",
        ),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_in_a_sentence(
    encoders, project, tmp_path, name, changes, message
):
    about = encoders[name][0] | changes
    with pytest.raises(UserError, match=message):
        embed_with("theirs", about, project / "volumes", tmp_path / "x.npz", "cpu", 1, 2)
    assert not (tmp_path / "x.npz").exists()


def test_mean_of_tokens_and_of_maps():
    x, net = torch.rand(2, 1, 16, 16, 16), Tokens()
    with torch.inference_mode():
        tokens = net(x)[0]
        assert torch.equal(VolumeEncoder(net, "mean", "theirs")(x), tokens.mean(1))
        maps = VolumeEncoder(net.patches, "mean", "theirs")(x)
    assert torch.allclose(maps, tokens.mean(1), atol=1e-6)


def test_a_package_that_a_network_lacks_is_named(encoders, monkeypatch):
    def without(**arguments):
        raise ImportError("No module named 'einops'")

    monkeypatch.setattr("monai.networks.nets.resnet10", without)
    with pytest.raises(UserError, match=r"resnet10 needs a package .*einops"):
        build_encoder("theirs", encoders["monai"][0])


def test_weights_of_another_network_are_refused(encoders, tmp_path):
    about, net = encoders["monai"]
    state = {key: value for key, value in net.state_dict().items() if key != "fc.bias"}
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(UserError, match=r"missing: fc\.bias"):
        build_encoder("theirs", about | {"path": str(tmp_path / "less.safetensors")})


def test_grid_keeps_the_centre_and_the_size_of_a_voxel_where_it_is_given():
    x = torch.zeros(1, 1, 8, 8, 8)
    x[..., 2:6, 2:6, 2:6] = 1.0
    halved = on_grid(x, 2.0, [4, 4, 4], 4.0)
    assert torch.equal(halved, torch.nn.functional.avg_pool3d(x, 2))
    padded = on_grid(x, 2.0, [10, 10, 10], 2.0)
    assert torch.equal(padded[..., 1:9, 1:9, 1:9], x) and padded.sum() == x.sum()
    cropped = on_grid(x, 2.0, [4, 4, 4], 2.0)
    assert (cropped == 1).all()
    assert torch.equal(on_grid(x, 2.0, [8, 8, 8], None), x)
    assert on_grid(x, 2.0, [16, 8, 12], None).shape[2:] == (16, 8, 12)
    assert on_grid(x, 2.0, [4, 4, 4], None).mean() == x.mean()


def test_intensities_are_normalised_scan_by_scan():
    x = torch.rand(2, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    x[:, :, :3] = 0.0
    x[1] *= 0.2
    assert torch.equal(normalised(x, "none"), x)
    assert torch.equal(normalised(x, "minus_one_to_one"), 2 * x - 1)
    whole, brain = normalised(x, "zscore"), normalised(x, "zscore_brain")
    for one, scan in zip(whole, x, strict=True):
        assert torch.allclose(one, (scan - scan.mean()) / scan.std(correction=0), atol=1e-5)
    for one, scan in zip(brain, x, strict=True):
        inside = one[scan > 0]
        assert abs(float(inside.mean())) < 1e-5
        assert float(inside.std(correction=0)) == pytest.approx(1, abs=1e-4)
        assert (one[scan == 0] == 0).all()
    assert torch.isfinite(normalised(torch.zeros(1, 1, 2, 2, 2), "zscore_brain")).all()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ldae", {}, "external_encoders.ldae: the name is taken"),
        ("visits", {}, "the name is taken"),
        ("index", {}, "the name is taken"),
        ("pca", {}, "the name is taken"),
        ("treat_all", {}, "the name is taken"),
        ("theirs", {"kind": "timm"}, "kind timm needs its network"),
        ("theirs", {"network": "ViT"}, "leave network and arguments out"),
        ("theirs", {"normalise": "histogram"}, "external_encoders.theirs.normalise"),
        ("theirs", {"grid": {"shape": [8, 8], "spacing": None}}, "grid.shape"),
    ],
)
def test_configuration_of_an_encoder_is_checked(name, changes, message):
    config = copy.deepcopy(PAPER)
    about = {"kind": "torchscript", "path": "net.pt", "grid": GRID, "normalise": "none"}
    config["evaluation"]["external_encoders"] = {"brainiac": about}
    check_config(config, SCHEMA)
    config["evaluation"]["external_encoders"] = {name: about | changes}
    with pytest.raises(UserError, match=message):
        check_config(config, SCHEMA)


def test_names_of_encoders_are_never_those_of_other_inputs():
    """An encoder's file is an input by its name, in each rule with ``**EMBEDDINGS``."""
    rules = {path.stem: path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")}
    found = set(re.findall(r'found\["(\w+)"\] =', rules["probe_inputs"]))
    assert {"table", "dates", "study_tables"} <= found
    blocks = [
        inputs
        for text in rules.values()
        for inputs in re.findall(r" input:\n(.*?)\n +output:", text, re.DOTALL)
        if "**EMBEDDINGS" in inputs
    ]
    assert len(blocks) >= 3
    for inputs in blocks:
        indent = re.match(" +", inputs)[0]
        found |= set(re.findall(rf"^{indent}(\w+)=", inputs, re.MULTILINE))
    found |= {f"{target}_predictions" for target in ("diagnosis", "age")} | set(STANDARD)
    for name in [*found, "oracle", "treat_all"]:
        with pytest.raises(UserError, match="the name is taken"):
            check_external_encoders({name: {"kind": "torchscript"}})
    check_external_encoders({"brainiac": {"kind": "torchscript"}})
