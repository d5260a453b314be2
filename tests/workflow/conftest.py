"""A clean copy of the project, and one small run of everything in it, shared by the tests here."""

import re
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from helpers.project import ROOT, Project, copy_project


class OneFinishedRun(LoadScopeScheduling):
    """Each file of tests goes to one worker, and all that use the finished run to the same."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        uses = re.search(r"def \w+\([^)]*\bfinished\b", (ROOT / file).read_text())
        return "finished" if uses else file


def pytest_xdist_make_scheduler(config: pytest.Config, log) -> OneFinishedRun:
    """Of ``--numprocesses``."""
    return OneFinishedRun(config, log)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy in which nothing has run."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A copy in which the whole workflow has run once on a small synthetic download."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    project.snakemake()
    return project
