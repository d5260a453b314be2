"""Picture of the rooms of src/ldae in docs/architecture.md, drawn from the imports.

    python tests/architecture.py            # draw it anew

A room is a folder of the library. It may import rooms of the layers below its own, and no other.
"""

import ast
import re
import sys
from pathlib import Path

import networkx as nx

REPO = Path(__file__).parent.parent
PAGE = REPO / "docs/architecture.md"
PICTURE = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)
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
)
# Modules beside the rooms that only start something: they belong to the room that they start.
STARTERS = {"__main__": "application"}


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
    """A Mermaid chart of the layers; arrows point to what is imported.

    An arrow is left out where others lead there as well, and so are those to the ground, which
    every room stands on.
    """
    lines = ["flowchart BT"]
    for height, layer in enumerate(LAYERS):
        lines.append(f"  subgraph layer{height}[ ]")
        lines += [f"    {name}" for name in layer]
        lines.append("  end")
    shown = nx.transitive_reduction(graph.subgraph(set(graph) - {ROOT}))
    lines += [f"  {below} --- {above}" for above, below in sorted(shown.edges)]
    return "".join(f"{line}\n" for line in lines)


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
    drawn = picture(rooms(imports(REPO / "src/ldae")))
    PAGE.write_text(PICTURE.sub(lambda _: drawn, PAGE.read_text(), count=1))
    sys.exit(0)
