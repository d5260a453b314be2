"""Fixtures: a fresh copy of the project, and one finished small run shared by these tests."""

import re
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from helpers.project import ROOT, Project, copy_project


class FinishedRunScheduling(LoadScopeScheduling):
    """One worker for each test file; all files that use the finished run share one worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        uses = re.search(r"def \w+\([^)]*\bfinished\b", (ROOT / file).read_text())
        return "finished" if uses else file


def pytest_xdist_make_scheduler(config: pytest.Config, log) -> FinishedRunScheduling:
    """Schedule the workers of ``--numprocesses``."""
    return FinishedRunScheduling(config, log)


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
