"""Files of a model hub: pinned, checked, from the cache without the network, errors as sentences.

The hub is a server on this machine that speaks the hub's protocol (helpers/hub.py).
"""

import hashlib
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import constants

from helpers.hub import running_hub
from ldae.errors import UserError
from ldae.files import read_json, write_table
from ldae.resources.hub import HubFile, fetch_repository
from ldae.resources.staging import check, missing_table, missing_text, stage
from ldae.resources.table import COLUMNS, load_resources

DATA = bytes(range(256)) * 40
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
REPOSITORY, FILE = "lab/weights", "nets/model.safetensors"


def table(tmp_path: Path, source: str, checksum: str = SHA256) -> pd.DataFrame:
    row = dict.fromkeys(COLUMNS, "-") | {"name": "net", "path": "hub/net.bin", "kind": "hub"}
    row |= {"source": source, "checksum": checksum, "bytes": len(DATA)}
    write_table(pd.DataFrame([row]), tmp_path / "resources.tsv")
    return load_resources(tmp_path / "resources.tsv")


@pytest.fixture
def source(hub) -> str:
    """A file of the hub, pinned; a later commit has changed it."""
    commit = hub.commit(REPOSITORY, {FILE: DATA, "README.md": b"about"})
    hub.commit(REPOSITORY, {FILE: b"trained anew"})
    return f"{REPOSITORY}@{commit}:{FILE}"


def test_file_of_the_pinned_commit_is_staged_and_recorded(hub, source, tmp_path):
    known = table(tmp_path, source)
    assert check("net", known, tmp_path) == "missing"
    path = stage("net", known, tmp_path)
    assert path == tmp_path / "hub/net.bin" and path.read_bytes() == DATA
    assert read_json(tmp_path / "records/net.json")["source"] == f"hub:{source}"
    assert check("net", known, tmp_path) == "ok"
    assert not list(tmp_path.glob("hub/*.part"))
    commit = HubFile.parse(source).commit
    asked = [request for request in hub.requests if REPOSITORY in request[1]]
    assert asked == [
        ("HEAD", f"/{REPOSITORY}/resolve/{commit}/{FILE}"),
        ("GET", f"/blobs/{REPOSITORY}/{commit}/{FILE}"),
    ]


def test_file_in_the_cache_needs_no_hub(hub, source, tmp_path, monkeypatch):
    known = table(tmp_path, source)
    stage("net", known, tmp_path).unlink()
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert stage("net", known, tmp_path).read_bytes() == DATA
    assert hub.requests == []


def test_damaged_file_in_the_cache_is_downloaded_again(hub, source, tmp_path):
    known = table(tmp_path, source)
    stage("net", known, tmp_path).unlink()
    (cached,) = (tmp_path / "hub-cache").rglob("snapshots/*/nets/*")
    cached.resolve().write_bytes(DATA[::-1])
    assert stage("net", known, tmp_path).read_bytes() == DATA


def test_cached_file_survives_a_wrong_checksum_in_the_table(hub, source, tmp_path, monkeypatch):
    stage("net", table(tmp_path, source), tmp_path).unlink()
    (cached,) = (tmp_path / "hub-cache").rglob("snapshots/*/nets/*")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError):
        stage("net", table(tmp_path, source, checksum="sha256:" + 64 * "0"), tmp_path)
    assert cached.read_bytes() == DATA


def test_mirror_is_a_folder_a_plain_server_or_another_hub(hub, source, tmp_path):
    known = table(tmp_path, source)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/net.bin").write_bytes(DATA)
    stage("net", known, tmp_path, [str(tmp_path / "mirror")]).unlink()
    assert hub.requests == []

    with running_hub() as other:
        other.repositories = hub.repositories
        stage("net", known, tmp_path, [other.url])
        assert other.requests[-1][1].startswith("/blobs/") and hub.requests == []
        record = read_json(tmp_path / "records/net.json")
        assert record["source"] == f"hub:{source} at {other.url}"


def test_mirror_without_the_file_is_passed_over(hub, source, tmp_path):
    with running_hub() as empty:
        assert stage("net", table(tmp_path, source), tmp_path, [empty.url]).read_bytes() == DATA
        assert len(empty.requests) > 2


def test_file_with_another_checksum_is_refused(hub, source, tmp_path):
    other = f"sha256:{hashlib.sha256(b'another').hexdigest()}"
    with pytest.raises(UserError, match=f"gave a file with {SHA256}, expected {other}"):
        stage("net", table(tmp_path, source, other), tmp_path)
    assert [path.name for path in tmp_path.glob("hub/*")] == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"@": "x@"}, "there is no such repository, or it is private: set HF_TOKEN"),
        ({FILE: "none.bin"}, "has no such file at this revision"),
        ({"GatedRepo": ""}, "accept their terms on its page, and set HF_TOKEN"),
        ({"Down": ""}, "not in the cache, and the hub at http://127.0.0.1:"),
        ({"NoHub": ""}, "what answers there is no hub"),
        ({"offline": ""}, "HF_HUB_OFFLINE switches the hub off"),
    ],
)
def test_error_of_the_hub_is_one_sentence(hub, source, tmp_path, monkeypatch, change, sentence):
    ((old, new),) = change.items()
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between tries of a hub that is down
    if old in ("GatedRepo", "Down"):
        hub.refused[REPOSITORY] = old
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", old == "offline")
    if old == "NoHub":
        hub.speaks = False
    known = table(tmp_path, source.replace(old, new))
    with pytest.raises(UserError) as refused:
        stage("net", known, tmp_path)
    text = str(refused.value)
    assert sentence in text and "net could not be downloaded to" in text
    assert "\n" not in text and len(text) < 700
    assert not (tmp_path / "hub/net.bin").exists()


@pytest.mark.parametrize(
    ("source", "checksum", "sentence"),
    [
        ("lab/weights@main:a.bin", SHA256, "with all 40 digits of the commit"),
        ("lab/weights@0123456:a.bin", SHA256, "with all 40 digits"),
        (f"weights@{'0' * 40}:a.bin", SHA256, "ORG/NAME@COMMIT:FILE"),
        (f"lab/weights@{'0' * 40}:a.bin", "unknown", "needs its checksum, sha256"),
        (f"lab/weights@{'0' * 40}:a.bin", "md5:0", "needs its checksum, sha256"),
    ],
)
def test_row_without_pinned_commit_or_checksum_is_refused(tmp_path, source, checksum, sentence):
    with pytest.raises(UserError, match=sentence):
        table(tmp_path, source, checksum)


def test_unknown_kind_is_refused(tmp_path):
    known = table(tmp_path, f"lab/weights@{'0' * 40}:a.bin").assign(kind="hug")
    write_table(known, tmp_path / "resources.tsv")
    with pytest.raises(UserError, match="net is of the kind 'hug'; known: url, hub"):
        load_resources(tmp_path / "resources.tsv")


def test_list_of_missing_files_has_an_address_for_a_browser(tmp_path):
    known = table(tmp_path, f"lab/weights@{'0' * 40}:a.bin")
    text = missing_text(missing_table(["net"], known, tmp_path))
    assert (
        f"/lab/weights/resolve/{'0' * 40}/a.bin" in text and str(tmp_path / "hub/net.bin") in text
    )


def test_repository_is_read_at_a_branch_or_a_commit(hub, source, tmp_path):
    commit = HubFile.parse(source).commit
    newest, name = fetch_repository(REPOSITORY, ["nets/**"])
    assert (newest / FILE).read_bytes() == b"trained anew" and name == newest.name != commit
    assert not (newest / "README.md").exists()
    pinned, name = fetch_repository(f"{REPOSITORY}@{commit}", ["nets/**"])
    assert (pinned / FILE).read_bytes() == DATA and name == commit
    hub.requests.clear()
    assert fetch_repository(f"{REPOSITORY}@{commit}", ["nets/**"]) == (pinned, commit)
    assert hub.requests == []
    for name, sentence in (
        (f"{REPOSITORY}@v9", "no such revision"),
        ("lab/none", "no such repository"),
        ("/nowhere/models", "neither a folder nor the name of a model"),
    ):
        with pytest.raises(UserError, match=sentence):
            fetch_repository(name, ["nets/**"])
