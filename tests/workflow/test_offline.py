"""Offline compute nodes: every stage runs without internet access and attempts none.

The run after the conversion is repeated in one go, so that it shows as well that a second run gives
identical tables.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.project import TIMED, Project

HERE = Path(__file__).parent / "offline"
# Runs a command in a network namespace with loopback alone. It needs no root, but a kernel that
# permits user namespaces.
OFFLINE = ("unshare", "-rn", sys.executable, str(HERE / "alone.py"))
NO_NAMESPACE = subprocess.run(
    [*OFFLINE, "true"] if shutil.which("unshare") else ["false"], capture_output=True, check=False
).returncode

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
needs_namespace = pytest.mark.skipif(
    NO_NAMESPACE, reason="`unshare -rn` is not there or not permitted: no namespace to test in"
)


@dataclass
class Node:
    """Copy of a finished run on a machine without internet, with a log of network attempts."""

    project: Project
    log: Path

    def snakemake(self, *arguments: str, **options):
        """As Project.snakemake; every Python process below it logs its network attempts."""
        within = () if NO_NAMESPACE else OFFLINE
        return self.project.snakemake(
            *arguments, within=within, NETWORK_ATTEMPTS=str(self.log), PYTHONPATH=str(HERE),
            **options,
        )  # fmt: skip

    def attempts(self) -> str:
        return self.log.read_text() if self.log.is_file() else ""


@pytest.fixture(scope="module")
def node(finished, tmp_path_factory) -> Node:
    return Node(finished, tmp_path_factory.mktemp("offline") / "attempts.txt")


@needs_namespace
def test_network_attempts_are_logged(node, tmp_path):
    """Control of the tests below: loopback works, nothing else can be reached."""
    program = """
import socket, urllib.request
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
for address in ("http://198.51.100.1/", "http://files.invalid/"):
    try:
        urllib.request.urlopen(address, timeout=5)
    except OSError as error:
        print(error)
"""
    log = tmp_path / "attempts.txt"
    environment = os.environ | {"NETWORK_ATTEMPTS": str(log), "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [*OFFLINE, sys.executable, "-c", program],
        env=environment, text=True, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert done.stdout.count("urlopen error") == 2
    rows = {tuple(line.split("\t")[:2]) for line in log.read_text().splitlines()}
    assert ("socket.connect", "198.51.100.1") in rows
    assert {host for _, host in rows} == {"198.51.100.1", "files.invalid"}


# At least one job of each library that could access the internet: Clinica (nipype, pydra), pybids;
# ANTs, deepbet; MONAI, timm, LPIPS; nilearn, matplotlib, the report.
CONVERSION = ("cohort/parts/ADNI-0.tsv", "cohort/scans.tsv")
AFTER_CONVERSION = (
    "preproc/manifests/n4/shard-0.tsv",
    "preproc/manifests/brain/shard-0.tsv",
    "preproc/manifests/registration/shard-0.tsv",
    "models/ldae/model.json",
    "tables/reconstruction.tsv",
    "figures/figure5_lda.pdf",
    "report/report.html",
)


def times(node: Node, names: tuple[str, ...]) -> list[int]:
    return [(node.project.path / "results" / name).stat().st_mtime_ns for name in names]


def test_rerun_after_the_conversion_is_offline_and_gives_identical_tables(node):
    results = node.project.path / "results"
    tables = [path for path in results.glob("tables/*.tsv") if path.name not in TIMED]
    before = {table.name: table.read_bytes() for table in tables}
    assert len(before) >= 10
    assert not list(results.glob("runs/*/*"))  # no checkpoint to start from
    started = times(node, AFTER_CONVERSION)
    shutil.rmtree(results / "preproc")
    # New scans train nothing by themselves, so one training is forced as well.
    forced = ("--forcerun", "scans", "ldae")
    node.snakemake("report", "figures", "evaluate", "cohort", *forced)
    assert {table.name: table.read_bytes() for table in tables} == before
    ended = times(node, AFTER_CONVERSION)
    assert all(now > then for now, then in zip(ended, started, strict=True))
    assert node.attempts() == ""


def test_conversion_runs_without_internet_access(node):
    shutil.rmtree(node.project.path / "results/bids_parts/ADNI-0")  # otherwise it is skipped
    started = times(node, CONVERSION)
    node.snakemake("-f", *(f"results/{name}" for name in CONVERSION))
    ended = times(node, CONVERSION)
    assert all(now > then for now, then in zip(ended, started, strict=True))
    assert node.attempts() == ""


@needs_namespace
def test_only_the_resources_rule_accesses_the_internet(project, tmp_path_factory):
    """It also names missing files, their paths and the remedy."""
    node = Node(project, tmp_path_factory.mktemp("staging") / "attempts.txt")
    done = node.snakemake("resources", "--keep-going", config="config/config.yaml", check=False)
    assert done.returncode
    for part in (
        "mni2009c-t1w could not be downloaded to resources/template/tpl-MNI152NLin2009cSym",
        "snakemake resources_list",
        "convnext-small is not at resources/timm/convnext_small.safetensors",
    ):
        assert part in done.stdout
    attempts = [line.split("\t") for line in node.attempts().splitlines()]
    assert {program.rsplit(".", 2)[-2] for *_, program in attempts} == {"stage_resources"}
    node.log.unlink()
    listed = node.snakemake("resources_list", config="config/config.yaml").stdout
    assert "mni2009c-t1w" in listed
    assert node.attempts() == ""
