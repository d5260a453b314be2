"""Fixtures: a fresh copy of the project, and copies of one small run that has finished."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from xdist.scheduler import LoadFileScheduling

from helpers.project import Project, copy_project

FINGERPRINTS = "src/ldae/__pycache__/fingerprints.json"
HERE = Path(__file__).parent
# Files that are begun in this order, before the others: long ones early, so that the workers end
# together; those that need the finished run when it is there; after one of a single long test a
# short one, because the worker gets both.
FIRST = [
    HERE / f"test_{name}.py"
    for name in (
        *("run", "faults", "offline", "partial_runs", "external", "application"),
        *("training_processes", "registration", "preprocessed", "new_subjects", "notebook"),
    )
]


class OneFileAhead(LoadFileScheduling):
    """One worker for each test file. It gets the next one with its last test, not earlier.

    With the next one it could not be given to the other worker, which may be free by then.
    """

    def _reschedule(self, node) -> None:
        if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
            super()._reschedule(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log) -> OneFileAhead:
    """Schedule the workers of ``--numprocesses``."""
    return OneFileAhead(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of ``FIRST`` before the others of this folder."""
    missing = [path.name for path in FIRST if not path.is_file()]
    assert not missing, f"FIRST of {__file__} names files that do not exist: {missing}"
    places = {path: place for place, path in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id: str) -> Path:
    """A temporary folder that all workers share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def fingerprints(shared: Path) -> Path:
    """Fingerprints of the project's source as Snakemake stores them; they take it three seconds."""
    stored = shared / "project" / FINGERPRINTS
    with FileLock(shared / "fingerprints.lock"):
        if not stored.is_file():
            copy_project(shared / "project").snakemake("-n", "--quiet", "all")
    return stored


@pytest.fixture
def project(fingerprints: Path, tmp_path: Path) -> Project:
    """A fresh copy in which nothing has run. Fingerprints of its source are known."""
    project = copy_project(tmp_path)
    (project.path / FINGERPRINTS).parent.mkdir()
    shutil.copy(fingerprints, project.path / FINGERPRINTS)
    return project


@pytest.fixture(scope="session")
def finished_once(shared: Path) -> Path:
    """Folder of a copy in which the whole workflow has run once on a small synthetic download.

    The first worker that asks runs it, the others wait. Nobody writes into it afterwards.
    LDAE_FINISHED names an existing one.
    """
    if os.environ.get("LDAE_FINISHED"):
        return Path(os.environ["LDAE_FINISHED"])
    folder, ended = shared / "finished", shared / "finished.txt"
    with FileLock(shared / "finished.lock"):
        if not ended.is_file():
            done = copy_project(folder).snakemake(check=False)
            ended.write_text(done.stdout[-6000:] if done.returncode else "")  # of a failed run
    said = ended.read_text()
    assert not said, f"the small run failed:\n{said}"
    return folder


@pytest.fixture(scope="module")
def finished(finished_once: Path, tmp_path_factory) -> Project:
    """A copy of the finished small run, which the tests of one file may change."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    return Project(shutil.copytree(finished_once, folder, symlinks=True))
