"""A file of a model hub is staged by the rule of all other resources."""

import hashlib

import pytest

from helpers.hub import running_hub

pytestmark = pytest.mark.workflow


def test_rule_stages_a_file_of_a_hub(project, tmp_path):
    table = project.path / "config/resources.tsv"
    with running_hub() as hub:
        commit = hub.commit("lab/weights", {"net.bin": b"weights"})
        digest = hashlib.sha256(b"weights").hexdigest()
        source = f"lab/weights@{commit}:net.bin"
        row = ["net", "hub/net.bin", "hub", source, f"sha256:{digest}", "7", "MIT", "a test", ""]
        table.write_text(table.read_text() + "\t".join(row) + "\n")
        project.snakemake(
            "resources/hub/net.bin", HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "home")
        )
    assert (project.path / "resources/hub/net.bin").read_bytes() == b"weights"
    assert source in (project.path / "resources/records/net.json").read_text()
