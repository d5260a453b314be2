"""Fixtures shared by several test files: built once per process; tests must not modify them."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """All three stages trained by their entry points: (folder, configs by stage)."""
    from helpers.training import make_chain

    return make_chain(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Path:
    """Folder with stores, models of random weights and embeddings of 24 subjects."""
    from helpers.models import make_project

    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def external_project(project, tmp_path_factory) -> Path:
    """The project with an external test set, OTHER: copies of its test subjects."""
    from helpers.models import add_external_cohort

    return add_external_cohort(project, tmp_path_factory.mktemp("external"))


@pytest.fixture(scope="session")
def system(project):
    """LDAE system of the project's models."""
    from helpers.models import CFG, load_ldae

    return load_ldae(project, CFG)


@pytest.fixture(scope="session")
def probe_outputs(project) -> Path:
    """Folder with the outputs of the probes of the project's embeddings."""
    from helpers.models import run_probes

    return run_probes(project, project / "probes")


@pytest.fixture(scope="session")
def downloads(tmp_path_factory) -> Path:
    """Study tables of one cohort in both forms, in folders ``today`` and ``clinica``."""
    from helpers.downloads import make_downloads

    return make_downloads(tmp_path_factory.mktemp("downloads"))


@pytest.fixture
def today(downloads, tmp_path) -> Path:
    """A copy of today's form that a test may edit."""
    return shutil.copytree(downloads / "today", tmp_path / "today")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A model hub on this machine, which huggingface_hub asks; its cache is empty."""
    from huggingface_hub import constants

    from helpers.hub import TOKEN, running_hub

    with running_hub() as hub:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub
