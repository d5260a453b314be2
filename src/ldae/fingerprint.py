"""Fingerprints that make a stage rerun when, and only when, the source it runs changes."""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# Reading, writing, logging, messages and refusals: no result depends on them. An edit here must not
# retrain a model.
PLUMBING = {
    "__init__.py",
    "config.py",
    "data/seen.py",
    "errors.py",
    "files.py",
    "fingerprint.py",
    "leftover.py",
    "locks.py",
    "modelcard.py",
    "progress.py",
    "training/slurm.py",
}


def source_fingerprint(*modules: str) -> str:
    """Hash ``modules``, given as paths inside the package, and all modules that they import.

    A name is a file (``"diffusion/ddim.py"``) or a folder (``"figures"``: all files below it).
    Imports inside functions count as well, and so do data files that a module names. Only contents
    count: a fresh clone or a touch changes nothing.

    Raises:
        FileNotFoundError: a module does not exist, so a renamed file cannot go unnoticed.
    """
    total = hashlib.sha256()
    for file in sorted(_closure(modules)):
        total.update(str(file.relative_to(PACKAGE)).encode())
        total.update(file.read_bytes())
    return total.hexdigest()[:16]


def _closure(modules: tuple[str, ...]) -> set[Path]:
    waiting: list[Path] = []
    for name in modules:
        path = PACKAGE / name
        below = [file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc"]
        waiting += below if path.is_dir() else [path]
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _needs(file) if file.suffix == ".py" else ()
    return found


@cache
def _needs(file: Path) -> tuple[Path, ...]:
    """Modules of this package that ``file`` imports, and data files beside it that it names."""
    text = file.read_text()
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ldae"):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("ldae.")}
    stems = [PACKAGE.joinpath(*name.split(".")[1:]) for name in names]
    sources = [path for stem in stems for path in (stem.with_suffix(".py"), stem / "__init__.py")]
    modules = [path for path in sources if path.is_file()]
    data = [path for path in file.parent.iterdir() if path.suffix in {".json", ".j2"}]
    return (
        *(path for path in modules if str(path.relative_to(PACKAGE)) not in PLUMBING),
        *(path for path in data if path.name in text),
    )
