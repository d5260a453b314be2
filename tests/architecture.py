"""Picture and table of the rooms of src/ldae in docs/architecture.md, drawn from the source.

    python tests/architecture.py            # draw both anew

A room is a folder of the library. It may import rooms of the layers below its own, and no other.
"""

import ast
import re
from itertools import pairwise
from pathlib import Path

import networkx as nx

REPO = Path(__file__).parent.parent
PAGE = REPO / "docs/architecture.md"
PICTURE = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)
TABLE = re.compile(r"(?<=<!-- rooms -->\n).*?(?=<!-- /rooms -->)", re.DOTALL)
ROOT = "ldae"  # modules beside the rooms

# From the ground up.
LAYERS = (
    (ROOT,),
    ("conversion", "resources", "synthetic"),
    ("cohort",),
    ("data", "preprocess"),
    ("nets", "diffusion"),
    ("models",),
    ("training", "inference"),
    ("orchestration",),
    ("evaluation",),
    ("ground_truth",),
    ("figures",),
    ("report",),
    ("application", "preflight"),
    ("explorer",),
    ("cli",),
)
# Modules beside the rooms that only start something: they belong to the room that they start.
STARTERS = {"__main__": "cli"}


def imports(package: Path) -> nx.DiGraph:
    """Which module of a package imports which, inside functions as well.

    Args:
        package: The package's folder.

    Returns:
        Nodes are names below the package: ``diffusion.ddim``; an edge points to what is imported.
    """
    graph = nx.DiGraph()
    paths = {_name(package, path): path for path in sorted(package.rglob("*.py"))}
    graph.add_nodes_from(paths)
    for name, path in paths.items():
        for target in _targets(path, package.name):
            while target not in paths:  # a definition of a module
                target = target.rpartition(".")[0]
            if target != name:
                graph.add_edge(name, target)
    return graph


def rooms(modules: nx.DiGraph) -> nx.DiGraph:
    """Which room imports which."""
    graph = nx.DiGraph()
    graph.add_nodes_from({room(name, modules) for name in modules})
    pairs = ((room(a, modules), room(b, modules)) for a, b in modules.edges)
    graph.add_edges_from((a, b) for a, b in pairs if a != b)
    return graph


def room(module: str, modules: nx.DiGraph) -> str:
    """The room that a module stands in."""
    first, _, rest = module.partition(".")
    is_folder = bool(rest) or any(name.startswith(f"{first}.") for name in modules)
    return first if first and is_folder else STARTERS.get(module, ROOT)


def upward(graph: nx.DiGraph) -> list[tuple[str, str]]:
    """Imports of rooms that do not lead to a lower layer.

    Raises:
        KeyError: a room stands in no layer.
    """
    level = {name: height for height, layer in enumerate(LAYERS) for name in layer}
    return sorted((a, b) for a, b in graph.edges if level[a] <= level[b])


def picture(graph: nx.DiGraph) -> str:
    """A Mermaid chart of the layers; arrows point from what is imported to who imports it.

    An arrow is left out where others lead there as well, and so are those from the ground, which
    every room stands on. Invisible links keep each layer above the one before it.
    """
    lines = ["flowchart BT", f"  {ROOT}[modules at the root]"]
    lines += [f"  {' & '.join(a)} ~~~ {' & '.join(b)}" for a, b in pairwise(LAYERS)]
    shown = nx.transitive_reduction(graph.subgraph(set(graph) - {ROOT}))
    lines += [f"  {below} --> {above}" for above, below in sorted(shown.edges)]
    return "".join(f"{line}\n" for line in lines)


def table(package: Path) -> str:
    """A Markdown table of the rooms from the top down, with the first line of their docstrings.

    Raises:
        KeyError: a room stands in no layer.
    """
    level = {name: height for height, layer in enumerate(LAYERS) for name in layer}
    folders = [path.parent for path in package.glob("*/__init__.py")]
    lines = ["| room | holds |", "|---|---|"]
    for folder in sorted(folders, key=lambda folder: (-level[folder.name], folder.name)):
        parts = [f"`{path.parent.name}/`" for path in sorted(folder.glob("*/__init__.py"))]
        text = _summary(folder / "__init__.py") + (f" Inside: {', '.join(parts)}." if parts else "")
        lines.append(f"| `{folder.name}/` | {text} |")
    return "".join(f"{line}\n" for line in lines)


def page(package: Path, text: str) -> str:
    """The page with its picture and its table drawn anew."""
    drawn = picture(rooms(imports(package)))
    return TABLE.sub(lambda _: table(package), PICTURE.sub(lambda _: drawn, text, count=1), count=1)


def _summary(path: Path) -> str:
    """First line of a module's docstring.

    Raises:
        ValueError: it has none.
    """
    text = ast.get_docstring(ast.parse(path.read_text()))
    if not text:
        raise ValueError(f"{path} has no docstring: say in a line what the room holds.")
    return text.splitlines()[0]


def _name(package: Path, path: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(path: Path, package: str) -> set[str]:
    """Names below the package that a module imports; a definition with its module's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix(f"{package}.") for name in found if name.startswith(f"{package}.")}


if __name__ == "__main__":
    PAGE.write_text(page(REPO / "src/ldae", PAGE.read_text()))
