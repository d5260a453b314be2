"""Fingerprints of source: a stage reruns when code that it runs changes, and only then.

A fingerprint hashes definitions, not files: the definitions that a rule names, all definitions that
these use, and the statements that their modules execute on import. A comment, a docstring, a type
hint, a moved definition, a renamed file or an edit in an unused function changes no fingerprint.
"""

import atexit
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ldae.dependencies import MODULES
from ldae.source_graph import Definition, Package, Ref

PACKAGE = Path(__file__).parent


def source_fingerprint(*entries: str) -> str:
    """Hash the definitions that ``entries`` name and all definitions that they depend on.

    Args:
        entries: ``"diffusion.ddim:ddim_encode"`` is one definition, ``"diffusion.ddim"`` a whole
            module, ``"figures"`` all modules and data files of a folder.

    Returns:
        16 hexadecimal characters, the same under all versions of Python.

    Raises:
        FileNotFoundError: a module does not exist.
        LookupError: a module lacks the definition, so that a renamed one cannot go unnoticed.
    """
    return _known(PACKAGE)(*sorted(set(entries)))


def _computed(*entries: str) -> str:
    found = closure(*entries)
    parts = {_sha256(part.code.encode()) for part in found.definitions.values()}
    parts |= {_sha256(file.read_bytes()) for file in found.files}
    return _sha256("".join(sorted(parts)).encode())[:16]


class _Known:
    """Fingerprints that an earlier process has computed from the same files, kept beside bytecode.

    Parsing the package takes half the time of a start of Snakemake. The key is a hash of all files
    of the package, so a stored fingerprint is what would be computed.
    """

    def __init__(self, root: Path):
        self._path = root / "__pycache__/fingerprints.json"
        self._root, self._source = root, _hash_of_files(root)
        self._new = False
        try:
            stored = json.loads(self._path.read_text())
        except (OSError, ValueError):
            stored = {}
        self._values = stored["values"] if stored.get("source") == self._source else {}
        atexit.register(self._store)

    def __call__(self, *entries: str) -> str:
        key = " ".join(entries)
        if key not in self._values:
            self._values[key] = _computed(*entries)
            self._new = True
        return self._values[key]

    def _store(self) -> None:
        """Write the fingerprints, if there are new ones and no file has changed meanwhile."""
        if not self._new or _hash_of_files(self._root) != self._source:
            return
        content = json.dumps({"source": self._source, "values": self._values})
        with suppress(OSError):  # the folder may be read-only
            self._path.parent.mkdir(exist_ok=True)
            temporary = self._path.with_suffix(f".tmp{os.getpid()}")
            temporary.write_text(content)
            temporary.replace(self._path)


def _hash_of_files(root: Path) -> str:
    """Hash of all files below a folder but Python's and our own caches."""
    total = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(root)} {content}\n".encode())
    return total.hexdigest()


@cache
def _known(root: Path) -> _Known:
    """The fingerprints of a package; its files are read once per process."""
    return _Known(root)


@dataclass
class Closure:
    """Source and data files that a result depends on.

    Attributes:
        definitions: By module and name. The name None stands for the statements that the module
            executes on import.
        files: Data files of the package.
        modules: Modules that are imported.
    """

    definitions: dict[Ref, Definition] = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)


def closure(*entries: str) -> Closure:
    """Everything that ``entries`` depend on; entries as in :func:`source_fingerprint`."""
    package, found = read_package(PACKAGE), Closure()
    waiting = [_entry(package, entry) for entry in entries]
    seen: set[Ref] = set()
    while waiting:
        ref = waiting.pop()
        if ref in seen or ref.module in MODULES:
            continue
        seen.add(ref)
        waiting += _imported(package, ref.module, found)
        if ref.name is None:
            waiting += _parts_of(package, ref.module, found)
            continue
        module = package.module(ref.module)
        if ref.name in module.imports and ref.name not in module.statements:  # re-exported
            target = package.resolve(module.imports[ref.name])
            waiting += [target] if target else []
            continue
        waiting += _add(found, ref, module.definition(ref.name))
    return found


def _entry(package: Package, entry: str) -> Ref:
    module, _, name = entry.partition(":")
    package.module(module)
    return Ref(module, name or None)


def _parts_of(package: Package, module: str, found: Closure) -> list[Ref]:
    """All definitions of a module; all modules of a package, whose data files are added."""
    names = [Ref(module, name) for name in package.module(module).statements]
    if not package.is_package(module):
        return names
    folder, sources = package.paths[module].parent, {".py", ".pyc"}
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix not in sources)
    found.files |= {file for file in files if "__pycache__" not in file.parts}
    return [*names, *map(Ref, package.below(module))]


def _imported(package: Package, module: str, found: Closure) -> list[Ref]:
    """Add the import-time statements of a module and of the modules imported with it."""
    waiting, refs = [module], []
    while waiting:
        name = waiting.pop()
        if name in found.modules or name in MODULES:
            continue
        found.modules.add(name)
        read = package.module(name)
        if read.effects:
            refs += _add(found, Ref(name), read.definition(None))
        refs += read.imported_whole
        waiting += [*read.imported, name.rpartition(".")[0]]
    return refs


def _add(found: Closure, ref: Ref, definition: Definition) -> list[Ref]:
    found.definitions[ref] = definition
    found.files |= definition.files
    return list(definition.uses)


@cache
def read_package(root: Path) -> Package:
    """The package, read once per process."""
    return Package(root)


@cache
def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
