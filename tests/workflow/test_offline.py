"""Compute nodes have no internet: every stage works without, and none tries to reach it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from helpers.project import Project

HERE = Path(__file__).parent / "offline"
# A network namespace of its own, in which nothing but loopback is up; needs no rights but the
# kernel's leave for user namespaces.
ALONE = ("unshare", "-rn", sys.executable, str(HERE / "alone.py"))
NO_NAMESPACE = subprocess.run(
    [*ALONE, "true"] if shutil.which("unshare") else ["false"], capture_output=True, check=False
).returncode

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.skipif(
        NO_NAMESPACE, reason="`unshare -rn` is not there or not permitted: no namespace to test in"
    ),
]


@dataclass
class Node:
    """A copy of a finished run on a machine without internet that writes down who asks for it."""

    project: Project
    log: Path

    def snakemake(self, *arguments: str, **options):
        """As Project.snakemake; every Python below it reports what it tries to reach."""
        return self.project.snakemake(
            *arguments, within=ALONE, NETWORK_ATTEMPTS=str(self.log), PYTHONPATH=str(HERE),
            **options,
        )  # fmt: skip

    def attempts(self) -> str:
        return self.log.read_text() if self.log.is_file() else ""


@pytest.fixture(scope="module")
def node(finished, tmp_path_factory) -> Node:
    folder = tmp_path_factory.mktemp("offline")
    shutil.copytree(finished.path, folder / "project", symlinks=True)
    return Node(Project(folder / "project"), folder / "attempts.txt")


def test_an_attempt_would_be_seen(node, tmp_path):
    """The alarm rings, loopback is up and nothing else can be reached."""
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
        [*ALONE, sys.executable, "-c", program],
        env=environment, text=True, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert done.stdout.count("urlopen error") == 2
    rows = {tuple(line.split("\t")[:2]) for line in log.read_text().splitlines()}
    assert ("socket.connect", "198.51.100.1") in rows
    assert {host for _, host in rows} == {"198.51.100.1", "files.invalid"}


# One job at least of each library that could reach out: Clinica (nipype, pydra), pybids; ANTs,
# deepbet; MONAI, timm, LPIPS; nilearn, matplotlib, the report.
STAGES = {
    "conversion": ("cohort/parts/ADNI-0.tsv", "cohort/scans.tsv"),
    "preprocessing": tuple(
        f"preproc/manifests/{step}/shard-0.tsv" for step in ("n4", "brain", "registration")
    ),
    "training": ("models/ldae/model.json",),
    "evaluation": ("tables/reconstruction.tsv",),
    "report": ("figures/figure5_lda.pdf", "report/report.html"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_neither_needs_nor_asks_for_the_internet(node, stage):
    if stage == "conversion":  # else the batch is kept as it is
        shutil.rmtree(node.project.path / "results/bids_parts/ADNI-0")
    if stage == "preprocessing":  # else every scan is skipped
        forget_a_scan(node.project.path / "results")
    targets = [f"results/{name}" for name in STAGES[stage]]
    before = {name: (node.project.path / name).stat().st_mtime_ns for name in targets}
    node.snakemake("-f", *targets)
    assert all((node.project.path / name).stat().st_mtime_ns > before[name] for name in targets)
    assert node.attempts() == ""


def forget_a_scan(results: Path) -> None:
    """Delete what preprocessing made of the first good scan of shard 0."""
    done = pd.read_csv(results / "preproc/manifests/registration/shard-0.tsv", sep="\t")
    scan = done.loc[done["status"] == "ok", "scan_id"].iloc[0]
    subject, session = scan.split("_")[:2]
    shutil.rmtree(results / "preproc" / subject / session)


def test_only_staging_asks_for_the_internet(project, tmp_path_factory):
    """And says which files are missing, where they go and what to do."""
    node = Node(project, tmp_path_factory.mktemp("staging") / "attempts.txt")
    done = node.snakemake("resources", "--keep-going", config="config/config.yaml", check=False)
    assert done.returncode
    for part in (
        "mni2009c-t1w could not be downloaded to resources/template/tpl-MNI152NLin2009cSym",
        "snakemake resources_list",
        "convnext-small is not at resources/timm/convnext_small.safetensors",
    ):
        assert part in done.stdout
    asked = [line.split("\t") for line in node.attempts().splitlines()]
    assert {program.rsplit(".", 2)[-2] for *_, program in asked} == {"stage_resources"}
    node.log.unlink()
    listed = node.snakemake("resources_list", config="config/config.yaml").stdout
    assert "mni2009c-t1w" in listed
    assert node.attempts() == ""
