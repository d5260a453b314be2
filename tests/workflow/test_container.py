"""Container: jobs run in a stand-in for Apptainer that records and executes its commands."""

import os
import stat
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

APPTAINER = f"""#!{sys.executable}
import os, pathlib, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    sys.exit(print("apptainer version 1.3.4"))
with pathlib.Path("told").open("a") as stream:
    print(*arguments, file=stream)
command = arguments[arguments.index("resources/ldae.sif") + 1:]
os.execvp(command[0], command)
"""
MINE = """
synthetic: {subjects: 2, visits: 1, spacing: 4.0}
software: {container: resources/ldae.sif, clinica_bin: null}
"""


@pytest.fixture
def apptainer(tmp_path_factory, monkeypatch):
    """Put the stand-in on PATH, before a Python as in an image's PATH."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "apptainer"
    program.write_text(APPTAINER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = [str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))


def test_container_runs_jobs_in_the_image(project, apptainer):
    (project.path / "mine.yaml").write_text(MINE)
    call = ["synthetic", "--sdm", "apptainer", "--apptainer-args=--nv"]
    refused = project.snakemake(*call, config="mine.yaml", check=False)
    assert refused.returncode
    assert "software.container is resources/ldae.sif, which does not exist" in refused.stdout
    (project.path / "resources/ldae.sif").touch()
    project.snakemake(*call, config="mine.yaml")
    (executed,) = (project.path / "told").read_text().splitlines()
    assert executed.startswith(f"exec --home {project.path} --nv ")
    assert executed.split()[-1].endswith("synthetic.py")
    assert (project.path / "raw/demo/truth.tsv").is_file()


def test_container_option_without_configured_image_is_refused(project, apptainer):
    refused = project.snakemake("-n", "--sdm", "apptainer", check=False)
    assert refused.returncode
    assert "With --sdm apptainer set software.container" in refused.stdout
