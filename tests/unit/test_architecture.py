"""Architecture of the library: layers of rooms, no cycles, and the page that shows them."""

import ast
import re
from pathlib import Path

import networkx as nx
import pytest

from architecture import LAYERS, PAGE, REPO, imports, page, rooms, table, upward

LIBRARY = REPO / "src/ldae"
TESTS = REPO / "tests"


@pytest.fixture(scope="module")
def modules() -> nx.DiGraph:
    return imports(LIBRARY)


def package(folder: Path, **modules: str) -> Path:
    """A package of small modules: room__module -> source."""
    for name, source in modules.items():
        path = folder / "ldae" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        (path.parent / "__init__.py").write_text('"""A room."""\n')
    return folder / "ldae"


def test_every_room_imports_lower_layers_only(modules):
    assert upward(rooms(modules)) == []
    assert nx.is_directed_acyclic_graph(rooms(modules))


def test_modules_import_each_other_in_no_cycle(modules):
    assert list(nx.simple_cycles(modules)) == []


def test_layers_are_the_folders_of_the_library():
    folders = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert {name for layer in LAYERS for name in layer} - {"ldae"} == folders


def test_only_orchestration_imports_snakemake():
    importing = {
        path.relative_to(LIBRARY).parts[0]
        for path in LIBRARY.rglob("*.py")
        if re.search(r"^\s*(from|import) snakemake\b", path.read_text(), re.MULTILINE)
    }
    assert importing <= {"orchestration"}


def test_page_shows_the_rooms_as_they_are():
    text = PAGE.read_text()
    assert page(LIBRARY, text) == text, "Run: python tests/architecture.py"


def test_files_and_modules_named_by_the_page_exist():
    """Names in backticks: paths below the project or the library, modules without suffix."""
    rooms_of_library = {name for layer in LAYERS[1:] for name in layer}
    named = [name for name in re.findall(r"`([\w./-]+)`", PAGE.read_text()) if "NAME" not in name]
    files = [name for name in named if re.search(r"\.(py|smk|yaml|json|md|j2)$", name)]
    modules = [name for name in named if name.split("/")[0] in rooms_of_library and "." not in name]
    assert len(files) > 40 and len(modules) > 25
    bases = (REPO, LIBRARY)
    missing = [name for name in files if not any((base / name).is_file() for base in bases)]
    missing += [
        name
        for name in modules
        if not (LIBRARY / f"{name}.py").is_file() and not (LIBRARY / name).is_dir()
    ]
    assert not missing


def test_an_import_of_a_higher_layer_is_found(tmp_path):
    library = package(
        tmp_path,
        diffusion__ddim="def run():\n    from ldae.training.loop import train\n",
        training__loop="import ldae.nets.unet\n",
        nets__unet="",
    )
    assert upward(rooms(imports(library))) == [("diffusion", "training")]


def test_a_cycle_is_found_also_through_functions(tmp_path):
    library = package(
        tmp_path,
        nets__unet="from ldae.nets.blocks import Block\n",
        nets__blocks="def block():\n    from ldae.nets import unet\n",
    )
    assert [set(cycle) for cycle in nx.simple_cycles(imports(library))] == [
        {"nets.unet", "nets.blocks"}
    ]


def test_picture_and_table_change_with_an_import_and_a_room(tmp_path):
    before = package(tmp_path / "a", nets__unet="", models__card="")
    after = package(tmp_path / "b", nets__unet="", models__card="import ldae.nets.unet\n")
    text = PAGE.read_text()
    assert "nets --> models" not in page(before, text)
    assert "nets --> models" in page(after, text)
    (after / "nets/__init__.py").write_text("")
    with pytest.raises(ValueError, match="has no docstring"):
        table(after)


def test_files_of_tests_share_through_helpers_alone():
    """Otherwise files of one name in two folders could not be collected in one call."""
    for path in TESTS.glob("*/*.py"):
        tree = ast.parse(path.read_text())
        names: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
        roots = {name.split(".")[0] for name in names}
        neighbours = {one.stem for one in path.parent.glob("*.py")} | {"conftest"}
        assert path.parent.name == "helpers" or not roots & neighbours, path
