"""Lock files, conda files, containers and the Makefile install the same versions."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ldae.training.trackers.choice import PACKAGES, TRACKERS

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
LOCKS = {"ldae": ["torch.txt", "ldae.lock.txt"], "clinica": ["clinica.lock.txt"]}
PIN = r"([A-Za-z0-9._-]+)==([^\s,]+)"


def normal(package: str) -> str:
    return package.lower().replace("_", "-")


def pins(name: str) -> dict[str, str]:
    """Package versions pinned with == in a file of envs/, one per line."""
    found = re.findall(rf"^[\s-]*{PIN}$", (ENVS / name).read_text(), re.M)
    return {normal(package): version for package, version in found}


def locked(environment: str) -> dict[str, str]:
    return {name: version for lock in LOCKS[environment] for name, version in pins(lock).items()}


def torch_of(build: str, system: str = "linux") -> SpecifierSet:
    """Torch versions that torch-BUILD.txt accepts on a system, one of ``sys.platform``."""
    lines = re.findall(r"^torch.*$", (ENVS / f"torch-{build}.txt").read_text(), re.M)
    there = [
        one.specifier
        for one in map(Requirement, lines)
        if one.marker is None or one.marker.evaluate({"sys_platform": system})
    ]
    assert len(there) == 1
    return there[0]


def pythons() -> SpecifierSet:
    """Python versions that the project runs on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return SpecifierSet(project["requires-python"])


@pytest.mark.parametrize("environment", LOCKS)
def test_conda_installs_the_locked_versions(environment):
    in_conda = pins(f"{environment}.yaml")
    assert len(in_conda) > 20
    added = (ENVS / f"{environment}.post-deploy.sh").read_text()
    in_conda |= {normal(package): version for package, version in re.findall(PIN, added)}
    assert {name: locked(environment).get(name) for name in in_conda} == in_conda
    (python,) = re.findall(r"- python=(\S+)", (ENVS / f"{environment}.yaml").read_text())
    assert f"{python}.0" in pythons()


def test_clinica_lock_file_includes_dcm2niix():
    assert {"clinica", "dcm2niix"} <= locked("clinica").keys()


def test_torch_builds_have_one_version_and_exclude_each_other():
    version = pins("torch.txt")["torch"]
    assert pins("ldae.yaml")["torch"] == version
    cpu, plain, cuda = f"{version}+cpu", version, f"{version}+cu130"
    assert [each in torch_of("cpu") for each in (cpu, plain, cuda)] == [True, False, False]
    assert [each in torch_of("cuda") for each in (cpu, plain, cuda)] == [False, True, True]
    assert plain in torch_of("cpu", "darwin")  # has one build, without a label


def test_caller_packages_are_locked_and_exclude_torch():
    lines = (ENVS / "caller.txt").read_text().splitlines()
    names = {normal(line) for line in lines if not line.startswith("#")}
    assert {"snakemake", "snakemake-executor-plugin-slurm", "jsonschema", "pandas"} <= names
    assert not names - locked("ldae").keys()
    assert "torch" not in names


# With only the standard library and the packages of the caller, runs what the workflow does outside
# of its jobs: the imports of the rule files, and the rule check.
OUTSIDE = """
import sys, re, importlib
from importlib.metadata import packages_distributions
from pathlib import Path
allowed, root, here = set(sys.argv[3].split()), Path(sys.argv[1]), Path(sys.argv[2])
foreign = {
    name for name, of in packages_distributions().items()
    if not any(re.sub("[-_.]+", "-", each).lower() in allowed for each in of)
} - {"ldae", "__pycache__"}
class Closed:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in foreign:
            raise ModuleNotFoundError(f"{name} is not in caller.txt")
sys.meta_path.insert(0, Closed())
files = [root / "workflow/scripts/check.py", *(root / "workflow/rules").glob("*.smk")]
text = "".join(file.read_text() for file in files)
for name in re.findall(r"^ *from (ldae[.a-z_]*) import", text, re.M):
    importlib.import_module(name)
import yaml
from ldae.preflight.checks import preflight
from ldae.preflight.run_facts import Facts
config = yaml.safe_load((root / "config/config.yaml").read_text())
config["paths"] |= {k: str(here / k) for k in ("images", "tables", "results", "resources")}
command = (sys.executable, "-c", "print('Job stats:', 'n4 2', 'dae 1', sep=chr(10))")
(here / "results/cohort").mkdir(parents=True)
(here / "results/cohort/scans.tsv").write_text("participant_id\\tcohort\\nsub-1\\tADNI\\n")
run = Facts(config, root, False, 2, False, "image.sif", {}, frozenset(), {}, None, command)
print({finding.topic for finding in preflight(run)})
"""


def test_caller_packages_suffice_for_code_outside_of_jobs(tmp_path):
    lines = (ENVS / "caller.txt").read_text().splitlines()
    names = " ".join(normal(line) for line in lines if not line.startswith("#"))
    command = [sys.executable, "-c", OUTSIDE, str(ROOT), str(tmp_path), names]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"space", "resources", "plan", "cost"} <= set(re.findall(r"'(\w+)'", done.stdout))


@pytest.fixture
def make(tmp_path):
    """Function that runs make as a dry run and returns the finished process."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ENVS, tmp_path / "envs")
    # Without what a make that runs the tests hands down, as `make test TORCH=cpu` its variable.
    inherited = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "TORCH"}
    environment = {key: value for key, value in os.environ.items() if key not in inherited}

    def dry(*arguments):
        command = ["make", "--dry-run", "--no-print-directory", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return dry


@pytest.mark.parametrize("build", ["", "cpu", "cuda"])
def test_make_installs_lock_files_and_the_requested_torch_build(make, build):
    output = make("env", *([f"TORCH={build}"] if build else [])).stdout
    requested, *locks = re.findall(r"install .*?-r (.+)", output)
    if build:
        assert requested == f"envs/torch-{build}.txt"
    else:
        assert re.fullmatch(r"\$\(\S+/\.venv/ldae/bin/python envs/choose_torch\.py\)", requested)
    assert locks == ["envs/ldae.lock.txt", "envs/clinica.lock.txt"]
    assert re.search(rf"check_torch\.py {build} --stamp \.venv/ldae/\.done$", output, re.M)


def test_make_keeps_the_torch_build_and_refuses_unknown_ones(make, tmp_path):
    for name in ("ldae/.done-cuda", "clinica/.done"):
        (tmp_path / ".venv" / name).parent.mkdir(parents=True)
        (tmp_path / ".venv" / name).touch()
    assert "install" not in make("env").stdout
    assert "envs/torch-cpu.txt" in make("env", "TORCH=cpu").stdout
    assert "TORCH is cpu or cuda, not rocm" in make("env", "TORCH=rocm").stderr
    (tmp_path / "envs/ldae.lock.txt").touch()
    assert "-r envs/torch-cuda.txt" in make("env").stdout  # made anew, with the same build


@pytest.mark.parametrize("asked", ["wandb", "mlflow", "wandb mlflow"])
def test_make_adds_the_packages_of_trackers_when_asked(make, tmp_path, asked):
    for name in ("ldae/.done-cpu", "clinica/.done"):
        (tmp_path / ".venv" / name).parent.mkdir(parents=True)
        (tmp_path / ".venv" / name).touch()
    output = make("env", f"TRACKER={asked}").stdout
    assert re.findall(r"-c envs/ldae.lock.txt -r (\S+)", output) == [
        f"envs/tracker-{name}.txt" for name in asked.split()
    ]
    for name in asked.split():
        (tmp_path / f".venv/ldae/.tracker-{name}").touch()
    assert "install" not in make("env", f"TRACKER={asked}").stdout
    assert "tracker" not in make("env").stdout


def test_trackers_have_an_extra_and_a_tested_version_within_it():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for tracker, package in PACKAGES.items():
        (required,) = map(Requirement, extras["optional-dependencies"][tracker])
        assert required.name == package
        assert pins(f"tracker-{tracker}.txt")[package] in required.specifier
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    choices = schema["properties"]["training"]["properties"]["tracker"]["enum"]
    assert tuple(choices) == TRACKERS


def test_stamp_has_the_name_of_the_build_that_is_installed(tmp_path):
    build, other = ("cuda", "cpu") if torch.version.cuda else ("cpu", "cuda")
    command = [sys.executable, str(ENVS / "check_torch.py"), "--stamp", str(tmp_path / ".done")]
    refused = subprocess.run([*command, other], stderr=subprocess.PIPE, text=True, check=False)
    assert refused.returncode
    assert f"TORCH={other}, but pip" in refused.stderr
    assert not list(tmp_path.iterdir())
    subprocess.run(command, check=True)
    assert [stamp.name for stamp in tmp_path.iterdir()] == [f".done-{build}"]


def test_make_help_lists_every_target_and_variable_and_is_the_default():
    def printed(*arguments):
        return subprocess.run(
            ["make", "--no-print-directory", *arguments],
            cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    makefile = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (help .*)$", makefile, re.M)
    assert printed() == printed("help")
    assert set(re.findall(r"^([a-z-]+)  ", printed(), re.M)) == set(targets.split()) - {"help"}
    variables = set(re.findall(r"^([A-Z]+) +\?=", makefile, re.M)) | {"WHICH", "V"}
    assert set(re.findall(r"^([A-Z]+)=", printed(), re.M)) == variables


def docker() -> dict[str, object]:
    """Settings of envs/Dockerfile, with the keys of :func:`apptainer`."""
    text = (ENVS / "Dockerfile").read_text().replace("\\\n", "")
    copied = [line.split()[1:] for line in re.findall(r"^COPY .*$", text, re.M)]
    return {
        "base": re.findall(r"^FROM (\S+)$", text, re.M),
        "copied": sorted(name for *names, _ in copied for name in names),
        "torch": re.findall(r"^ARG TORCH=(\S+)$", text, re.M),
        "debian": re.findall(r"apt-get install (.*?) +&&", text),
        "make": [line.replace("$TORCH", "?") for line in re.findall(r"make -C .*", text)],
        "path": re.findall(r"^ENV PATH=(\S+)$", text, re.M),
        "text": text,
    }


def apptainer() -> dict[str, object]:
    """Settings of envs/ldae.def: base image, copied files, torch, packages, make, PATH."""
    text = (ENVS / "ldae.def").read_text()
    _, *parts = re.split(r"^%(\w+)\n", text, flags=re.M)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    copied = [line.split() for line in sections["files"].splitlines() if line.strip()]
    assert all(target == f"/opt/ldae/{name}" for name, target in copied)
    return {
        "base": re.findall(r"^From: (\S+)$", text, re.M),
        "copied": sorted(name for name, _ in copied),
        "torch": re.findall(r"TORCH=(\S+)", sections["arguments"]),
        "debian": re.findall(r"apt-get install (.*)", sections["post"]),
        "make": [
            line.replace("{{ TORCH }}", "?") for line in re.findall(r"make -C .*", sections["post"])
        ],
        "path": re.findall(r"export PATH=(\S+)", sections["environment"]),
        "text": text,
    }


def test_both_containers_are_built_by_the_makefile_from_lock_files():
    one, other = docker(), apptainer()
    texts = [one.pop("text"), other.pop("text")]
    assert one == other
    assert one["make"] == ["make -C /opt/ldae env TORCH=?"]
    texts_of_package = {"LICENSE", "NOTICE", "README.md"}  # pyproject.toml names them
    assert set(one["copied"]) == {"Makefile", "envs", "pyproject.toml", "src"} | texts_of_package
    assert one["torch"] == ["cuda"]
    assert not [pin for text in texts for pin in re.findall(PIN, text)]
    (version,) = re.findall(r"^python:(\d+\.\d+)-", one["base"][0])
    assert f"{version}.0" in pythons()
    conda = yaml.safe_load((ENVS / "ldae.yaml").read_text())["dependencies"]
    assert f"python={version}" in conda
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {f"!{name}" for name in one["copied"]} == {line for line in ignored if line[0] == "!"}


def test_dockerfile_is_read_by_a_parser_of_dockerfiles():
    parser = pytest.importorskip("dockerfile_parse").DockerfileParser(str(ENVS / "Dockerfile"))
    assert [parser.baseimage] == docker()["base"]
    found = [one for one in parser.structure if one["instruction"] != "COMMENT"]
    assert {one["instruction"] for one in found} == {"FROM", "ARG", "RUN", "COPY", "ENV"}
    copied = [one["value"].split() for one in found if one["instruction"] == "COPY"]
    for *sources, target in copied:
        assert target.startswith("/opt/ldae/")
        assert all((ROOT / source).exists() for source in sources)


def test_container_path_has_main_environment_first_and_clinica_last():
    (path,) = docker()["path"]
    assert path == "/opt/ldae/.venv/ldae/bin:$PATH:/opt/ldae/.venv/clinica/bin"
    made = re.findall(r"-m venv --clear (\S+)", (ROOT / "Makefile").read_text())
    assert {"$(ENV)", ".venv/clinica"} <= set(made)
    assert re.search(r"^ENV +:= .venv/ldae$", (ROOT / "Makefile").read_text(), re.M)
