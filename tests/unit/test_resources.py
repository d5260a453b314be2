"""External files: their table, downloads that resume, mirrors, and files made from packages."""

import copy
import gzip
import hashlib
import http.server
import pickle
import threading
from collections import namedtuple
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from helpers.networks import PAPER
from ldae.cli.main import main
from ldae.errors import UserError
from ldae.nets.perceptual import Lpips
from ldae.nets.semantic_encoder import build_encoder
from ldae.resources import download
from ldae.resources.download import find_damage
from ldae.resources.from_packages import load_arrays
from ldae.resources.staging import check, missing_table, missing_text, stage, staged_table
from ldae.resources.table import COLUMNS, load_resources, needed

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "config" / "resources.tsv"
DATA = bytes(range(256)) * 500
HALF = len(DATA) // 2
SHA256 = hashlib.sha256(DATA).hexdigest()
UNKNOWN = "unknown"


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA. /broken cuts every answer in half, /cut only the first one; /plain knows no
    ranges and no ETag, /plain-cut also cuts the first answer; /other serves another file.
    """

    requests: list[tuple[str, str | None]]
    etag = '"1"'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        range_header, path = self.headers.get("Range"), self.path
        self.server.requests.append((path, range_header))
        first = path not in [earlier for earlier, _ in self.server.requests[:-1]]
        if path in ("/empty", "/login"):
            self.send_response(202 if path == "/empty" else 200)
            self.send_header("Content-Type", "text/html" if path == "/login" else "text/plain")
            self.end_headers()
            self.wfile.write(b"<html>" if path == "/login" else b"")
            return
        if path not in ("/file", "/broken", "/cut", "/plain", "/plain-cut", "/other"):
            self.send_error(404)
            return
        same = self.headers.get("If-Range", self.server.etag) == self.server.etag
        ranged = range_header and same and not path.startswith("/plain")
        start = int(range_header.removeprefix("bytes=").removesuffix("-")) if ranged else 0
        data = DATA[::-1] if path == "/other" else DATA
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if not path.startswith("/plain"):
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        cut = path == "/broken" or (path in ("/cut", "/plain-cut") and first)
        self.wfile.write(data[start : HALF if cut else None])

    def log_message(self, *args):
        """Keep the test's output quiet."""


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def table(server, tmp_path):
    """A table with one row ``x``; call with the URLs' paths and a checksum."""
    address = f"http://127.0.0.1:{server.server_port}"

    def make(*paths, checksum=f"sha256:{SHA256}", kind="url", name="x.bin"):
        urls = " ".join(path if "://" in path else address + path for path in paths)
        row = ("x", f"sub/{name}", kind, urls, checksum, "n/a", "free", "a test", "Ask a friend.")
        (tmp_path / "table.tsv").write_text("\t".join(COLUMNS) + "\n" + "\t".join(row) + "\n")
        return load_resources(tmp_path / "table.tsv")

    return make


def file_names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_download_is_checked_and_not_repeated(server, table, tmp_path):
    resources = table("/file")
    assert check("x", resources, tmp_path) == "missing"
    path = stage("x", resources, tmp_path)
    assert path == tmp_path / "sub" / "x.bin"
    assert path.read_bytes() == DATA
    assert check("x", resources, tmp_path) == "ok"
    stage("x", resources, tmp_path)
    assert len(server.requests) == 1
    assert file_names(path.parent) == ["x.bin"]


def test_broken_download_resumes_at_once_and_in_the_next_call(server, table, tmp_path):
    assert stage("x", table("/cut"), tmp_path).read_bytes() == DATA
    assert server.requests == [("/cut", None), ("/cut", None), ("/cut", f"bytes={HALF}-")]
    (tmp_path / "sub" / "x.bin").unlink()
    with pytest.raises(UserError, match=r"could not be downloaded .*bytes early"):
        stage("x", table("/broken"), tmp_path)
    assert not (tmp_path / "sub" / "x.bin").exists()
    assert stage("x", table("/file"), tmp_path).read_bytes() == DATA
    assert server.requests[-1] == ("/file", f"bytes={HALF}-")


def test_download_restarts_if_the_server_knows_no_ranges(server, table, tmp_path):
    path = stage("x", table("/plain-cut"), tmp_path)
    assert path.read_bytes() == DATA
    assert server.requests[-1] == ("/plain-cut", f"bytes={HALF}-")


@pytest.mark.parametrize("checksum", [f"sha256:{SHA256}", UNKNOWN])
def test_partial_download_of_another_file_is_not_resumed(server, table, tmp_path, checksum):
    other = f"sha256:{hashlib.sha256(DATA[::-1]).hexdigest()}"
    with pytest.raises(UserError):
        stage("x", table("/broken", checksum=other if checksum != UNKNOWN else UNKNOWN), tmp_path)
    assert len(file_names(tmp_path / "sub")) == 1
    server.requests.clear()
    assert stage("x", table("/file", checksum=checksum), tmp_path).read_bytes() == DATA
    assert server.requests == [("/file", None)]


def test_partial_download_is_not_resumed_if_the_file_has_changed(server, table, tmp_path):
    resources = table("/broken", checksum=UNKNOWN)
    with pytest.raises(UserError):
        stage("x", resources, tmp_path)
    server.etag = '"2"'
    server.requests.clear()
    with pytest.raises(UserError):
        stage("x", resources, tmp_path)
    assert server.requests[0] == ("/broken", None)
    assert len(file_names(tmp_path / "sub")) == 2  # a partial file of each version


def test_damaged_partial_download_is_discarded(server, table, tmp_path):
    (tmp_path / "sub").mkdir()
    part = download.partial_file(tmp_path / "sub" / "x.bin", f"sha256:{SHA256}")
    for damaged in (b"not it", b"x" * len(DATA), b"x" * (len(DATA) + 1)):
        part.write_bytes(damaged)
        path = stage("x", table("/file"), tmp_path)
        assert path.read_bytes() == DATA
        path.unlink()


def test_download_tries_the_next_url(server, table, tmp_path):
    resources = table("/nowhere", "/empty", "/login", "/other", "/file")
    assert stage("x", resources, tmp_path).read_bytes() == DATA
    assert [path for path, _ in server.requests] == resources.loc["x"]["source"].replace(
        f"http://127.0.0.1:{server.server_port}", ""
    ).split()


def test_download_with_a_wrong_checksum_leaves_no_file(server, table, tmp_path):
    with pytest.raises(UserError, match="expected md5:0000"):
        stage("x", table("/file", checksum="md5:0000"), tmp_path)
    assert file_names(tmp_path / "sub") == []


def test_download_reports_an_unknown_checksum(server, table, tmp_path, caplog):
    resources = table("/file", checksum=UNKNOWN)
    stage("x", resources, tmp_path)
    assert SHA256 in caplog.text
    assert check("x", resources, tmp_path) == "present, checksum unknown"


def test_download_reports_an_unreachable_host_with_a_remedy(table, tmp_path):
    with pytest.raises(UserError) as error:
        stage("x", table("http://127.0.0.1:9/file"), tmp_path)
    message = str(error.value)
    assert f"{tmp_path}/sub/x.bin" in message
    assert "http://127.0.0.1:9/file: [Errno 111] Connection refused" in message
    assert "resources_list" in message
    assert "https_proxy" in message


def test_download_uses_the_proxy(server, table, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(UserError, match="404"):
        stage("x", table("http://far.invalid/file"), tmp_path)
    assert server.requests == [("http://far.invalid/file", None)]


def test_download_reports_a_full_disk_before_fetching(server, table, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 10**6)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"sub has 1 MB free, .* needs 50 MB.*paths\.resources"):
        stage("x", table("/file"), tmp_path)
    assert file_names(tmp_path / "sub") == []


def test_download_reports_a_disk_that_fills_while_writing(server, table, tmp_path):
    (tmp_path / "sub").mkdir()
    part = download.partial_file(tmp_path / "sub" / "x.bin", f"sha256:{SHA256}")
    part.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"\.part cannot be written \(No space left on device\)"):
        stage("x", table("/file"), tmp_path)


@pytest.mark.parametrize("inner", ["sub/x.bin", "x.bin"])
def test_mirror_is_tried_first_and_its_file_is_checked(server, table, tmp_path, inner):
    mirror = tmp_path / "mirror" / inner
    mirror.parent.mkdir(parents=True)
    mirror.write_bytes(DATA)
    path = stage("x", table("/file"), tmp_path, [str(tmp_path / "mirror")])
    assert path.read_bytes() == DATA
    assert not server.requests
    mirror.write_bytes(b"an old version")
    path.unlink()
    stage("x", table("/file"), tmp_path, [str(tmp_path / "mirror")])
    assert [where for where, _ in server.requests] == ["/file"]
    with pytest.raises(UserError, match=r"paths\.mirrors: the folder /nowhere does not exist"):
        stage("x", table("/file", name="y.bin"), tmp_path, ["/nowhere"])


def test_mirror_may_be_a_url_and_serve_manual_resources(server, table, tmp_path):
    resources = table(kind="manual", checksum=UNKNOWN, name="file")
    mirror = f"http://127.0.0.1:{server.server_port}/"
    assert stage("x", resources, tmp_path, [mirror]).read_bytes() == DATA
    assert server.requests == [("/sub/file", None), ("/file", None)]


def test_a_file_brought_by_hand_is_verified(server, table, tmp_path):
    resources = table("/file")
    path = tmp_path / "sub" / "x.bin"
    path.parent.mkdir()
    path.write_bytes(b"other")
    assert check("x", resources, tmp_path).startswith("has the wrong checksum sha256:")
    with pytest.raises(UserError, match=r"sub/x\.bin \(x\) has the wrong checksum .*remove it"):
        stage("x", resources, tmp_path)
    assert path.read_bytes() == b"other"
    path.write_bytes(DATA)
    assert stage("x", resources, tmp_path) == path
    assert not server.requests


def test_staged_files_are_recorded_with_their_source(server, table, tmp_path):
    resources = table("/file")
    path = stage("x", resources, tmp_path)
    stage("x", resources, tmp_path)  # the source does not become "brought by hand"
    row = staged_table(resources, tmp_path).loc[0]
    assert row["source"] == resources.loc["x"]["source"]
    assert (row["path"], row["sha256"], row["bytes"]) == ("sub/x.bin", SHA256, len(DATA))
    assert row["date"].endswith("Z")
    path.unlink()
    assert staged_table(resources, tmp_path).empty
    path.write_bytes(DATA[::-1])
    stage("x", table("/file", checksum=UNKNOWN), tmp_path)
    assert staged_table(resources, tmp_path).loc[0, "source"] == "brought by hand"


def test_files_of_unknown_checksum_must_be_complete(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros(1000)
    save_file({"x": torch.zeros(1000)}, tmp_path / "a.safetensors")
    (tmp_path / "a.gz").write_bytes(gzip.compress(np.random.default_rng(1).bytes(1000)))
    for path in sorted(tmp_path.iterdir()):
        assert find_damage(path, path.name) is None
        data = path.read_bytes()
        for wrong in (data[:-100], b"<html>", b""):
            path.write_bytes(wrong)
            assert "is not a complete ." in find_damage(path, path.name)
    path.write_bytes(b"anything")
    assert find_damage(path, "weights.pt") is None  # files of other formats are not checked


def test_manual_and_unknown_resources_are_explained(table, tmp_path):
    resources = table(kind="manual", checksum=UNKNOWN)
    with pytest.raises(UserError, match=r"sub/x\.bin and has no address\. Ask a friend"):
        stage("x", resources, tmp_path)
    with pytest.raises(UserError, match="no resource named 'y'; known: x"):
        stage("y", resources, tmp_path)


def test_missing_resources_are_listed_with_url_checksum_and_licence(tmp_path):
    resources = load_resources(TABLE)
    missing = missing_table(resources.index, resources, tmp_path)
    assert "mni2009a-mask" not in set(missing["name"])  # made here, nothing to download
    text = missing_text(missing)
    for name in missing["name"]:
        row = resources.loc[name]
        for fact in (*row["source"].split(), row["checksum"], row["licence"], row["note"]):
            assert fact in text
        assert str(tmp_path / row["path"]) in text
        assert row["bytes"] == "" or f"bytes     {row['bytes']:.0f}\n" in text
    (tmp_path / "template").mkdir()
    (tmp_path / resources.loc["mni2009c-t1w"]["path"]).touch()
    assert "mni2009c-t1w" not in set(missing_table(resources.index, resources, tmp_path)["name"])
    assert missing_text(missing.iloc[:0]) == "Nothing is missing that must be downloaded.\n"


def test_resources_table_is_well_formed():
    resources = load_resources(TABLE)
    assert resources.index.is_unique
    assert resources["path"].is_unique
    assert set(resources["kind"]) == {"url", "package", "manual"}
    for _, row in resources.iterrows():
        assert row["checksum"].split(":")[0] in ("md5", "sha256", "unknown")
        assert row["licence"] and row["used_by"] and row["note"]
        assert row["bytes"] == "" or float(row["bytes"]) > 0
        assert row["kind"] == "manual" or row["source"]
        if row["kind"] == "url":
            assert all(url.startswith("https://") for url in row["source"].split())


def test_needed_resources_follow_the_configuration():
    resources = load_resources(TABLE)
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    paper = needed(config, resources)
    assert {"mni2009c-t1w", "mni2009c-mask", "antsxnet-brain-weights", "lpips-squeeze"} < set(paper)
    assert not any(name.startswith("mni2009a") for name in paper)
    changed = copy.deepcopy(config)
    changed["preprocess"]["brain_extraction"]["method"] = "deepbet"
    changed["ldae"]["encoder"]["pretrained"] = None
    changed["autoencoder"]["perceptual"]["net"] = None
    not_needed = {
        "antsxnet-brain-weights",
        "antsxnet-brain-template",
        "convnext-small",
        "lpips-squeeze",
    }
    assert set(paper) - set(needed(changed, resources)) == not_needed
    published = copy.deepcopy(config) | {"published": {"ldae": "theirs.ckpt"}}
    trainings = {"ukb-autoencoderkl", "lpips-squeeze"}
    assert set(paper) - set(needed(published, resources)) == trainings  # baselines need the encoder
    published["baselines"] = []
    assert set(paper) - set(needed(published, resources)) == trainings | {"convnext-small"}


def test_lpips_alex_is_made_and_loads(tmp_path):
    resources = load_resources(TABLE)
    path = stage("lpips-alex", resources, tmp_path)
    assert check("lpips-alex", resources, tmp_path) == "ok"
    Lpips("alex", path)  # strict: all keys, all shapes
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert check("lpips-alex", resources, tmp_path) == "differs from its package's"


@pytest.fixture
def lite0_package(tmp_path, monkeypatch):
    """A package with EfficientNet-Lite0's layout and random weights: (table, timm's network)."""
    import ldae.nets._torchvision  # noqa: F401, I001
    import timm

    torch.manual_seed(0)
    net = timm.create_model("tf_efficientnet_lite0", num_classes=10).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    blocks = [block for stage in net.blocks for block in stage]
    others = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head"}
    state = {}
    for name, there in (others | {"bn2": "_bn1", "classifier": "_fc"}).items():
        parts = getattr(net, name).state_dict()
        state |= {f"{there}.{key}": value for key, value in parts.items()}
    first = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    later = ("_expand_conv", "_bn0", *first)
    for number, block in enumerate(blocks):
        layers = [name for name, _ in block.named_children() if name[:2] in ("co", "bn")]
        for name, there in zip(layers, later if number else first, strict=True):
            parts = getattr(block, name).state_dict()
            state |= {f"_blocks.{number}.{there}.{key}": value for key, value in parts.items()}
    resources = load_resources(TABLE)
    row = resources.loc["efficientnet-lite0"]
    package, _, inside = row["source"].partition(":")
    path = tmp_path / "site" / package / inside
    path.parent.mkdir(parents=True)
    (tmp_path / "site" / package / "__init__.py").touch()

    def write(tensors):
        torch.save(tensors, path, _use_new_zipfile_serialization=False)  # as the package's is
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        resources.loc["efficientnet-lite0", "checksum"] = f"sha256:{digest}"
        return resources

    monkeypatch.syspath_prepend(tmp_path / "site")
    return write, state, net


def test_efficientnet_is_made_for_pixels_in_0_1_and_loads_as_backbone(lite0_package, tmp_path):
    write, state, net = lite0_package
    resources = write(state)
    path = stage("efficientnet-lite0", resources, tmp_path)
    assert check("efficientnet-lite0", resources, tmp_path) == "ok"
    assert load_file(path).keys() == net.state_dict().keys()
    encoder = PAPER["ldae"]["encoder"] | {"pretrained": str(path)}
    built = build_encoder(encoder | {"backbone": "tf_efficientnet_lite0"}).eval()
    assert built.dim == 1280
    x = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        grey = (x.expand(-1, 3, -1, -1) - 0.5) / 0.5
        stems = [each.bn1(each.conv_stem(x)) for each, x in ((net, grey), (built.backbone, x))]
        inside = [stem[..., :-1, :-1] for stem in stems]  # the last ones touch the padding
        torch.testing.assert_close(*inside, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(*stems, atol=1e-3)
    kept = dict(built.backbone.named_parameters()) | dict(built.backbone.named_buffers())
    changed = {"conv_stem.weight", "bn1.running_mean"}
    for name, value in net.state_dict().items():
        if not name.startswith("classifier") and name not in changed:
            assert torch.equal(kept[name], value), name


@pytest.mark.parametrize("fault", ["_blocks.16._bn0.bias", "_se_reduce.weight", "_blocks.0._bn0"])
def test_other_tensors_than_efficientnet_are_refused(lite0_package, tmp_path, fault):
    write, state, _ = lite0_package
    with pytest.raises(UserError, match="does not hold EfficientNet-Lite0"):
        stage("efficientnet-lite0", write(state | {fault: torch.zeros(1)}), tmp_path)
    del state["_conv_stem.weight"]
    with pytest.raises(UserError, match=r"does not hold .*conv_stem\.weight"):
        stage("efficientnet-lite0", write(state), tmp_path)
    assert not list(tmp_path.glob("timm/*"))


def test_pickles_with_anything_but_arrays_are_refused():
    arrays = {"a": {"b": np.arange(3.0)}}
    loaded = load_arrays(pickle.dumps(arrays, protocol=3).replace(b"numpy._core", b"numpy.core"))
    assert np.array_equal(loaded["a"]["b"], arrays["a"]["b"])
    with pytest.raises(pickle.UnpicklingError, match="Path is not an array"):
        load_arrays(pickle.dumps(Path("x")))


def test_stand_in_template_lies_on_the_2009c_grid(tmp_path):
    resources = load_resources(TABLE)
    brain, mask = (
        nib.load(stage(name, resources, tmp_path)) for name in ("mni2009a-brain", "mni2009a-mask")
    )
    assert brain.shape == mask.shape == (193, 229, 193)
    assert np.array_equal(brain.affine[:3, 3], (-96, -132, -78))
    voxels, inside = np.asanyarray(brain.dataobj), np.asanyarray(mask.dataobj) > 0
    assert 1.8e6 < inside.sum() < 2.0e6  # mm3; nothing of the brain was cut off
    assert inside[voxels > 0].all()
    # symmetric about x = 0, where both templates have their middle
    assert (inside & inside[::-1]).sum() > 0.99 * inside.sum()


def test_tissue_maps_lie_on_the_templates_grid(tmp_path):
    resources = load_resources(TABLE)
    names = ("mni2009a-mask", "mni-grey-map", "mni-white-map")
    mask, *maps = (nib.load(stage(name, resources, tmp_path)) for name in names)
    inside = np.asanyarray(mask.dataobj) > 0
    for tissue, least, most in zip(maps, (0.8e6, 0.4e6), (1.3e6, 0.9e6), strict=True):
        assert np.array_equal(tissue.affine, mask.affine)
        values = np.asanyarray(tissue.dataobj)
        assert least < values.sum(dtype=float) / 255 < most  # mm3
        assert values[inside].sum(dtype=float) > 0.98 * values.sum(dtype=float)


def test_resources_command_line(tmp_path, capsys):
    common = ["resources", "--table", str(TABLE), "--resources", str(tmp_path)]
    assert main([*common, "stage", "mni2009a-mask"]) == 0
    assert main([*common, "list"]) == 0
    assert "mni2009a-mask\tpackage\tstaged" in capsys.readouterr().out
    assert main([*common, "stage", "convnext-small"]) == 1
    assert "timm.create_model('convnext_small.fb_in1k'" in capsys.readouterr().err
    assert main([*common, "list", "--missing", "--tsv", str(tmp_path / "get.tsv")]) == 0
    assert "mni2009c-t1w  (registration)" in capsys.readouterr().out
    assert "mni2009c-t1w" in set(pd.read_csv(tmp_path / "get.tsv", sep="\t")["name"])
    assert main([*common, "check"]) == 0
    (tmp_path / "template" / "tpl-MNI152NLin2009cSym_res-1_T1w.nii.gz").write_bytes(b"x")
    assert main([*common, "check"]) == 1


def test_resources_command_line_follows_a_configuration(tmp_path, capsys):
    common = ["resources", "--table", str(TABLE), "--resources", str(tmp_path)]
    for name in ("config.yaml", "demo.yaml"):
        common += ["--config", str(ROOT / "config" / name)]
    assert main([*common, "list", "--missing"]) == 0
    assert "Nothing is missing" in capsys.readouterr().out
    assert main([*common, "list"]) == 0
    listed = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    templates = ["mni2009a-brain", "mni2009a-mask", "mni-grey-map", "mni-white-map"]
    assert listed == ["lpips-alex", *templates]
