"""Package: a wheel with all its data, dependencies that suffice, metadata for archives."""

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from ldae.cli.extras import EXTRAS
from ldae.errors import UserError
from ldae.training.trackers.choice import PACKAGES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Packages that code asks for by name and does without: numpy's and torch's own parts count as such.
OURS = {"ldae", "snakemake_logger_plugin_stages"}


def normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def required(*extras: str) -> set[str]:
    """Names of the packages that the project and these extras declare."""
    stated = [*PROJECT["dependencies"]]
    for extra in extras:
        stated += PROJECT["optional-dependencies"][extra]
    return {normal(Requirement(one).name) for one in stated} - {normal(PROJECT["name"])}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Folder with the wheel and the sdist of the files that git tracks or would track."""
    out = tmp_path_factory.mktemp("dist")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    source = out / "source"
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name.startswith(
            ("src/", "pyproject", "README", "LIC", "NOT")
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    # What a used checkout has beside them, and must not go out.
    cache = source / "src/ldae/__pycache__"
    cache.mkdir()
    (cache / "fingerprints.json").write_text("{}")
    command = "from setuptools import build_meta as b; b.build_{}('{}')"
    for kind in ("sdist", "wheel"):
        subprocess.run(
            [sys.executable, "-c", command.format(kind, out)],
            cwd=source, check=True, capture_output=True,
        )  # fmt: skip
    return out


def test_wheel_has_every_file_of_the_library_and_no_other(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        about = archive.read(metadata).decode()
        tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    source = built / "source/src"
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name and ".egg-info" not in name}
    assert len(files) > 200
    assert {name for name in names if ".dist-info" not in name} == files
    assert tops == OURS
    for name in ("licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"):
        assert metadata.replace("METADATA", name) in names
    for line in ("License-Expression: Apache-2.0", "Provides-Extra: preprocess", "# Latent Diff"):
        assert line in about, line


def test_source_distribution_builds_the_same_wheel(built, tmp_path):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    command = f"from setuptools import build_meta as b; b.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", command], cwd=folder, check=True, capture_output=True)
    (again,), (wheel,) = tmp_path.glob("*.whl"), built.glob("*.whl")
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(wheel) as other:
        assert {i.filename: i.CRC for i in one.infolist() if "RECORD" not in i.filename} == {
            i.filename: i.CRC for i in other.infolist() if "RECORD" not in i.filename
        }


def imported() -> dict[str, set[str]]:
    """Third-party packages that the library imports anywhere, and the modules that do."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "src/ldae").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in {name.split(".")[0] for name in names}:
                found.setdefault(name, set()).add(path.name)
    return {
        name: modules
        for name, modules in found.items()
        if name not in sys.stdlib_module_names and name not in OURS
    }


def test_every_imported_package_is_declared():
    stated = required(*PROJECT["optional-dependencies"])
    distributions = packages_distributions()
    undeclared = {
        name: sorted(modules)
        for name, modules in imported().items()
        if not {normal(one) for one in distributions.get(name, [PACKAGES.get(name, name)])} & stated
    }
    assert undeclared == {}


# Runs commands of `ldae`, each given as JSON, where the packages of its first argument are missing.
INSIDE = """
import json, sys
from importlib.machinery import PathFinder
hidden = set(sys.argv[1].split())
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from ldae.cli.main import main
for command in sys.argv[2:]:
    print(command, main(json.loads(command)), file=sys.stderr)
"""
SCAN = str(ROOT / "src/ldae/sample/visit-month00.nii.gz")


def installed_with(extras: tuple[str, ...]) -> set[str]:
    """Packages that an installation with these extras brings: the declared ones and their needs."""
    found: set[str] = set()
    waiting = list(required(*extras))
    while waiting:
        name = normal(waiting.pop())
        if name not in found:
            found.add(name)
            with contextlib.suppress(PackageNotFoundError):  # other names of the lock's packages
                stated = map(Requirement, requires(name) or [])
                here = [
                    one for one in stated if not one.marker or one.marker.evaluate({"extra": ""})
                ]
                waiting += [one.name for one in here]
    return found


def statuses(extras: tuple[str, ...], folder: Path, *commands: str) -> tuple[dict[str, int], str]:
    """Exit status of each command on the sample, by its first word, and what they said."""
    there = installed_with(extras)
    hidden = [name for name, (package, _) in EXTRAS.items() if normal(package) not in there]
    given = [json.dumps([*command.format(scan=SCAN).split(), "--sample"]) for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, " ".join(hidden), *given],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r'^\["(\w+)".* (\d)$', done.stderr, re.M)
    return {name: int(status) for name, status in found}, done.stderr


def test_declared_packages_suffice_and_a_missing_part_is_named(tmp_path):
    done, said = statuses(
        (),
        tmp_path,
        "apply --out applied",
        "encode {scan} --out codes.npz",
        "manipulate {scan} --sd 1 --steps 2 --out moved.nii.gz",
        "generate --steps 2 --out new",
    )
    others = ("encode", "manipulate", "generate")
    assert done == {"apply": 1, **dict.fromkeys(others, 0)}, said
    (line,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert re.search(r"package \S+, which .* is not installed: .*\[preprocess\]", line), line


def test_packages_of_the_extra_suffice_for_raw_heads(tmp_path):
    done, said = statuses(("preprocess",), tmp_path, "apply --steps 2 --out applied")
    assert done == {"apply": 0}, said
    assert (tmp_path / "applied/findings.json").is_file()


def test_missing_packages_of_the_sentence_are_those_of_the_extras():
    distributions = packages_distributions()
    for name, (package, extra) in EXTRAS.items():
        assert normal(package) in required(extra) - required(), name
        assert {normal(one) for one in distributions.get(name, [package])} == {normal(package)}
    wanted = required("preprocess", "antspynet", "workflow") - required()
    wanted = {name for name in wanted if not name.startswith(("snakemake", "dcm2niix"))}
    assert {normal(package) for package, _ in EXTRAS.values()} >= wanted


def test_unknown_missing_module_is_a_defect_and_keeps_its_traceback(monkeypatch):
    from ldae.cli import extras

    with pytest.raises(ModuleNotFoundError, match="typo"), extras.explained():
        raise ModuleNotFoundError("No module named 'typo'", name="typo")
    with pytest.raises(UserError, match=r"antspyx, .* is not installed"), extras.explained():
        raise ModuleNotFoundError("No module named 'ants'", name="ants.core")


def test_archive_and_citation_say_the_same_as_the_package():
    archive = json.loads((ROOT / ".zenodo.json").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    for key in ("title", "version", "keywords"):
        assert archive[key] == citation[key]
    assert archive["license"] == citation["license"] == PROJECT["license"]
    assert archive["version"] == PROJECT["version"]
    names = [{"name": one["name"]} for one in citation["authors"]]
    assert archive["creators"] == names == PROJECT["authors"]
    # Words that Zenodo knows (its documentation of deposits, November 2026).
    assert archive["upload_type"] == "software" and archive["access_right"] == "open"
    (paper,) = archive["related_identifiers"]
    assert paper["identifier"] == citation["preferred-citation"]["doi"]
    assert paper["scheme"] == "doi" and paper["resource_type"] == "publication-article"
    assert paper["relation"] == "isDerivedFrom"
