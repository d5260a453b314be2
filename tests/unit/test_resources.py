"""The table of outside files, and staging: downloads that resume, files made from packages."""

import copy
import hashlib
import http.server
import pickle
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from ldae.errors import UserError
from ldae.nets.perceptual import Lpips
from ldae.packaged import load_arrays
from ldae.resources import COLUMNS, check, load_resources, main, needed, stage

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "config" / "resources.tsv"
DATA = bytes(range(256)) * 500
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA at /file (with ranges), half of it at /broken, nothing at /empty."""

    requests: list[tuple[str, str | None]]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        if self.path == "/empty":
            self.send_response(202)
            self.end_headers()
            return
        if self.path not in ("/file", "/broken"):
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(DATA):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        end = len(DATA) // 2 if self.path == "/broken" else None
        self.wfile.write(DATA[start:end])

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

    def make(*paths, checksum=f"sha256:{SHA256}", kind="url"):
        urls = " ".join(address + path for path in paths)
        row = ("x", "sub/x.bin", kind, urls, checksum, "n/a", "free", "a test", "Ask a friend.")
        (tmp_path / "table.tsv").write_text("\t".join(COLUMNS) + "\n" + "\t".join(row) + "\n")
        return load_resources(tmp_path / "table.tsv")

    return make


def test_a_download_is_checked_and_done_once(server, table, tmp_path):
    resources = table("/file")
    assert check("x", resources, tmp_path) == "missing"
    path = stage("x", resources, tmp_path)
    assert path == tmp_path / "sub" / "x.bin"
    assert path.read_bytes() == DATA
    assert check("x", resources, tmp_path) == "ok"
    stage("x", resources, tmp_path)
    assert len(server.requests) == 1
    assert [item.name for item in path.parent.iterdir()] == ["x.bin"]


def test_a_broken_download_continues(server, table, tmp_path):
    with pytest.raises(UserError, match=r"could not be downloaded .*bytes early"):
        stage("x", table("/broken"), tmp_path)
    assert not (tmp_path / "sub" / "x.bin").exists()
    assert stage("x", table("/file"), tmp_path).read_bytes() == DATA
    assert server.requests[-1] == ("/file", f"bytes={len(DATA) // 2}-")


def test_a_whole_part_needs_no_more_bytes(server, table, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.bin.part").write_bytes(DATA)
    assert stage("x", table("/file"), tmp_path).read_bytes() == DATA


def test_the_second_address_is_tried(server, table, tmp_path):
    assert stage("x", table("/nowhere", "/empty", "/file"), tmp_path).read_bytes() == DATA
    assert [path for path, _ in server.requests] == ["/nowhere", "/empty", "/file"]


def test_a_wrong_checksum_leaves_nothing(server, table, tmp_path):
    with pytest.raises(UserError, match="expected md5:0000"):
        stage("x", table("/file", checksum="md5:0000"), tmp_path)
    assert list((tmp_path / "sub").iterdir()) == []


def test_an_unknown_checksum_is_said_to_be_unknown(server, table, tmp_path, caplog):
    resources = table("/file", checksum="unknown")
    stage("x", resources, tmp_path)
    assert SHA256 in caplog.text
    assert check("x", resources, tmp_path) == "present, checksum unknown"


def test_a_changed_file_is_found(server, table, tmp_path):
    resources = table("/file")
    stage("x", resources, tmp_path).write_bytes(b"other")
    assert check("x", resources, tmp_path).startswith("wrong checksum sha256:")


def test_manual_and_unknown_resources_are_explained(table, tmp_path):
    resources = table(kind="manual", checksum="unknown")
    with pytest.raises(UserError, match=r"sub/x\.bin and cannot be downloaded here\. Ask a friend"):
        stage("x", resources, tmp_path)
    with pytest.raises(UserError, match="no resource named 'y'; known: x"):
        stage("y", resources, tmp_path)


def test_the_table_is_well_formed():
    resources = load_resources(TABLE)
    assert resources.index.is_unique
    assert resources["path"].is_unique
    assert set(resources["kind"]) == {"url", "package", "manual"}
    for _, row in resources.iterrows():
        assert row["checksum"].split(":")[0] in ("md5", "sha256", "unknown")
        assert row["licence"] and row["used_by"] and row["note"]
        assert row["kind"] == "manual" or row["source"]
        if row["kind"] == "url":
            assert all(url.startswith("https://") for url in row["source"].split())


def test_configurations_name_what_they_need():
    resources = load_resources(TABLE)
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    paper = needed(config, resources)
    assert {"mni2009c-t1w", "mni2009c-mask", "antsxnet-brain-weights", "lpips-squeeze"} < set(paper)
    assert not any(name.startswith("mni2009a") for name in paper)
    without = copy.deepcopy(config)
    without["preprocess"]["brain_extraction"]["method"] = "deepbet"
    without["ldae"]["encoder"]["pretrained"] = None
    without["autoencoder"]["perceptual"]["net"] = None
    gone = {"antsxnet-brain-weights", "antsxnet-brain-template", "convnext-small", "lpips-squeeze"}
    assert set(paper) - set(needed(without, resources)) == gone
    published = copy.deepcopy(config) | {"published": {"ldae": "theirs.ckpt"}}
    trainings = {"ukb-autoencoderkl", "lpips-squeeze", "convnext-small"}
    assert set(paper) - set(needed(published, resources)) == trainings


def test_lpips_alex_is_made_and_loads(tmp_path):
    resources = load_resources(TABLE)
    path = stage("lpips-alex", resources, tmp_path)
    assert check("lpips-alex", resources, tmp_path) == "ok"
    Lpips("alex", path)  # strict: all keys, all shapes
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert check("lpips-alex", resources, tmp_path) == "differs from its package's"


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


def test_command_line(tmp_path, capsys):
    common = ["--table", str(TABLE), "--resources", str(tmp_path)]
    assert main([*common, "stage", "mni2009a-mask"]) == 0
    assert main([*common, "list"]) == 0
    assert "mni2009a-mask\tpackage\tstaged" in capsys.readouterr().out
    assert main([*common, "stage", "convnext-small"]) == 1
    assert "timm.create_model('convnext_small.fb_in1k'" in capsys.readouterr().err
    assert main([*common, "check"]) == 0
    (tmp_path / "template" / "tpl-MNI152NLin2009cSym_res-1_T1w.nii.gz").write_bytes(b"x")
    assert main([*common, "check"]) == 1
