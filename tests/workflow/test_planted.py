"""Planted labels in the workflow: made of the truth, read by their probes, compared at the end."""

import pytest
import yaml

from helpers.project import Project, copy_project
from ldae.ground_truth.planted_relations import NOISE, RELATED

pytestmark = pytest.mark.workflow
LABELS = "raw/planted.tsv"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return copy_project(tmp_path_factory.mktemp("planted") / "project")


def asked(project, **change) -> str:
    """The small run with the proof's planted targets; keys of planted_coin changed."""
    proof = yaml.safe_load((project.path / "config/proof.yaml").read_text())["evaluation"]
    targets = {name: about | {"table": LABELS} for name, about in proof["targets"].items()}
    targets["planted_coin"] |= change
    planted = {"targets": targets, "planted": {"labels": LABELS, "seed": 1}}
    return project.overlay("planted.yaml", {"evaluation": planted})


def test_labels_are_planned_before_the_probes_of_their_targets(project):
    more = project.jobs("evaluate", config=asked(project))
    for rule, count in project.jobs("evaluate").items():
        assert more.pop(rule) == count
    probes = {f"probe_{name}": 1 for name in (*RELATED, *NOISE)}
    assert more == probes | {"planted_labels": 1, "planted": 1}
    assert not (project.path / LABELS).exists()


def test_planted_target_from_another_column_is_refused(project):
    done = project.snakemake("-n", "evaluate", config=asked(project, column="case"), check=False)
    assert done.returncode != 0
    assert "evaluation.planted needs evaluation.targets.planted_coin with kind: binary" in (
        done.stdout
    )
