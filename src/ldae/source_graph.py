"""Dependency graph of the source: top-level definitions and the names that each of them uses.

A definition is a function, a class, or a module constant with the statements that change it. Its
code is its syntax tree as text, without docstrings, comments, type hints, imports, log lines and
the messages of errors. An imported name is written as the name of its definition. So neither an
alias nor the module of a definition is part of the code.

Source is parsed, never imported: the dependencies of a stage are found without its packages.
"""

import ast
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

NAME = "ldae"  # of the package
# Fields of the syntax tree that are left out: type hints and notes of the parser.
LEFT_OUT = frozenset({"annotation", "ctx", "kind", "returns", "type_comment", "type_params"})
# Calls with arguments that no result depends on, and the position of the first of these: the
# messages of errors, and the definitions whose fingerprint is taken.
FREE_ARGUMENTS = {
    f"{NAME}.errors.UserError": 0,
    f"{NAME}.errors.require": 1,
    f"{NAME}.fingerprint.source_fingerprint": 0,
}
LOGGERS = ("log", "logging")  # names whose calls are log lines


class Ref(NamedTuple):
    """Reference to a definition of a module or, without a name, to the whole module or package.

    Module names are relative to the package: ``diffusion.ddim``; the package itself is ``""``.
    """

    module: str
    name: str | None = None


@dataclass(frozen=True)
class Definition:
    """Code and dependencies of a top-level definition.

    Attributes:
        code: Its normalised syntax tree.
        uses: Definitions and modules of this package that it names.
        files: Data files of this package that it names.
    """

    code: str
    uses: frozenset[Ref]
    files: frozenset[Path]


class Package:
    """Source of the package below ``root``; each module is read once.

    Args:
        root: The package's folder.
    """

    def __init__(self, root: Path):
        self.root = root
        self.paths = {_module_name(root, path): path for path in sorted(root.rglob("*.py"))}
        self._modules: dict[str, Module] = {}

    def is_package(self, module: str) -> bool:
        """Whether the name is that of a folder of modules."""
        return module in self.paths and self.paths[module].name == "__init__.py"

    def below(self, module: str) -> list[str]:
        """Modules and packages inside a package."""
        return [name for name in self.paths if name.startswith(f"{module}.")]

    def module(self, name: str) -> "Module":
        """A module of the package.

        Raises:
            FileNotFoundError: there is no such module.
        """
        if name not in self.paths:
            raise FileNotFoundError(f"There is no module {name!r} in {self.root}.")
        if name not in self._modules:
            self._modules[name] = Module(self, name, self.paths[name])
        return self._modules[name]

    def resolve(self, dotted: str) -> Ref | None:
        """The module or definition of a dotted name like ``ldae.diffusion.ddim``.

        None if it is not of this package.
        """
        first, _, rest = dotted.partition(".")
        if first != NAME:
            return None
        if rest in self.paths:
            return Ref(rest)
        module, _, name = rest.rpartition(".")
        return Ref(module, name) if module in self.paths else None


class Module:
    """One module: its definitions, its imports, and the statements that it executes on import.

    Attributes:
        imports: Imported names -> dotted names of their sources.
        statements: Names of definitions -> the top-level statements that make or change them.
        effects: Top-level statements with an effect when the module is imported.
        imported: Modules of this package that are imported with this one.
        imported_whole: Those imported as ``import ldae.x``, for the effects of their import.
    """

    def __init__(self, package: Package, name: str, path: Path):
        self.package, self.name, self.path = package, name, path
        self.text = path.read_text()
        body = ast.parse(self.text).body
        self.imports = _imported(_imports(body))
        self.statements: dict[str, list[ast.stmt]] = {}
        for node in body:
            for defined in _binds(node) - self.imports.keys():
                self.statements.setdefault(defined, []).append(node)
        self.effects = [node for node in body if _acts(node)]
        # Without imports below TYPE_CHECKING, which are never executed.
        run = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        targets = (package.resolve(target) for target in _import_targets(run))
        self.imported = {ref.module for ref in targets if ref is not None}
        self.imported_whole = _plain_imports(package, run)
        self._definitions: dict[str | None, Definition] = {}

    def definition(self, name: str | None) -> Definition:
        """The definition called ``name``; for None, the statements with an effect on import.

        Raises:
            LookupError: the module has no such definition.
        """
        if name not in self._definitions:
            if name is not None and name not in self.statements:
                raise LookupError(f"{self.path} has no definition {name!r}.")
            nodes = self.effects if name is None else self.statements[name]
            parts = [self._read(node) for node in nodes]
            self._definitions[name] = Definition(
                "\n".join(part.code for part in parts),
                frozenset().union(*(part.uses for part in parts)),
                frozenset().union(*(part.files for part in parts)),
            )
        return self._definitions[name]

    @cached_property
    def _beside(self) -> set[str]:
        """Names of files and folders beside the module, except Python sources."""
        return {path.name for path in self.path.parent.iterdir() if path.suffix != ".py"}

    @cached_property
    def _scopes(self) -> dict[tuple[str, int], symtable.SymbolTable]:
        """Symbol tables of functions and classes, by name and line."""
        table = symtable.symtable(self.text, str(self.path), "exec")
        return {(child.get_name(), child.get_lineno()): child for child in table.get_children()}

    def _read(self, node: ast.stmt) -> Definition:
        within = list(_imports(ast.walk(node)))
        writer = _Writer(self, _imported(within), self._free_names(node))
        writer.write(node)
        uses = writer.uses | _plain_imports(self.package, within)
        for text in writer.texts:
            if text.startswith(f"{NAME}."):  # an argument of import_module: the whole module counts
                uses |= {ref for ref in [self.package.resolve(text.rstrip("."))] if ref}
        files = {path for text in writer.texts for path in self._data(text)}
        return Definition(" ".join(writer.out), frozenset(uses), frozenset(files))

    def _free_names(self, node: ast.stmt) -> set[str] | None:
        """Names that a statement takes from its module or from builtins; None: all names."""
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            return None
        header: list[ast.AST] = [*node.decorator_list]
        header += (
            [node.args] if isinstance(node, ast.FunctionDef) else [*node.bases, *node.keywords]
        )
        outside = (each for part in header for each in ast.walk(part) if isinstance(each, ast.Name))
        return {each.id for each in outside} | _globals(self._scopes[node.name, node.lineno])

    def _data(self, text: str) -> Iterator[Path]:
        """Data files that a string names: a file beside the module, or all files of a folder."""
        if text in self._beside and text != "__pycache__":
            path = self.path.parent / text
            if path.is_file():
                yield path
            elif not list(path.rglob("*.py")):
                yield from (file for file in sorted(path.rglob("*")) if file.is_file())


class _Writer:
    """Writer of a statement's syntax tree as text, the same under all versions of Python.

    Attributes:
        out: Words of the text.
        uses: Definitions and modules of the package that it names.
        texts: Strings in the statement.
    """

    def __init__(self, module: Module, within: dict[str, str], free: set[str] | None):
        self.module, self.within, self.free = module, within, free
        self.out: list[str] = []
        self.uses: set[Ref] = set()
        self.texts: list[str] = []

    def write(self, node: ast.AST) -> None:
        """Append a node and all below it."""
        if isinstance(node, ast.Name):
            self.out.append(f"Name({self.named(node.id) or node.id})")
            return
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            of_module = self.of_module(node.value.id, node.attr)
            if of_module:
                self.out.append(f"Name({of_module})")
                return
        free = self.first_free_argument(node)
        self.out.append(type(node).__name__)
        for key in node._fields:
            value = getattr(node, key, None)
            if value is None or key in LEFT_OUT:
                continue
            if isinstance(value, list):
                value = value[:free] if key == "args" else value
                parts = [part for part in value if not _is_without_effect(part)]
                if parts:
                    self.out.append(f"{key}[")
                    for part in parts:
                        self.write(part) if isinstance(part, ast.AST) else self.out.append(
                            repr(part)
                        )
                    self.out.append("]")
            elif isinstance(value, ast.AST):
                self.out.append(key)
                self.write(value)
            else:
                self.out.append(f"{key}={value!r}")
                if isinstance(value, str):
                    self.texts.append(value)

    def first_free_argument(self, node: ast.AST) -> int | None:
        """Position of the first argument of a call that no result depends on; None: all count."""
        named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return FREE_ARGUMENTS.get(self.target(node.func.id) or "") if named else None

    def target(self, name: str) -> str | None:
        """The dotted name of an imported name's source; None for local variables and others."""
        if name in self.within:
            return self.within[name]
        return self.module.imports.get(name) if self.is_free(name) else None

    def is_free(self, name: str) -> bool:
        """Whether a name belongs to the module and is not a local variable."""
        return self.free is None or name in self.free

    def named(self, name: str) -> str | None:
        """The text for an imported name, its definition's own name; None: the name as it is.

        The definition is added to ``uses``.
        """
        target = self.target(name)
        if target is None:
            if name in self.module.statements and self.is_free(name):
                self.uses.add(Ref(self.module.name, name))
            return None
        ref = self.module.package.resolve(target)
        if ref is None:
            return target
        self.uses.add(ref)
        return ref.name or "<module>"

    def of_module(self, name: str, attribute: str) -> str | None:
        """As :meth:`named`, for an attribute of a module of the package; None for any other."""
        target, package = self.target(name), self.module.package
        of = package.resolve(target) if target else None
        ref = package.resolve(f"{target}.{attribute}") if of and of.name is None else None
        if ref is None:
            return None
        self.uses.add(ref)
        return ref.name or "<module>"


def _module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _globals(scope: symtable.SymbolTable) -> set[str]:
    """Names of the module or of builtins that a scope or its inner scopes use."""
    own = {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global()}
    return own.union(*(_globals(child) for child in scope.get_children()))


def _imports(nodes: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements among nodes, also those below a condition such as TYPE_CHECKING."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and _only_imports(node):
            yield from _imports(node.body)


def _only_imports(node: ast.If) -> bool:
    parts = (*node.body, *node.orelse)
    return all(isinstance(part, ast.Import | ast.ImportFrom) for part in parts)


def _imported(imports: Iterable[ast.Import | ast.ImportFrom]) -> dict[str, str]:
    """Names that import statements bind -> dotted names of their sources."""
    found = {}
    for node in imports:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            elif alias.asname:
                found[alias.asname] = alias.name
            else:  # import a.b binds a
                found[alias.name.split(".")[0]] = alias.name.split(".")[0]
    return found


def _import_targets(imports: Iterable[ast.Import | ast.ImportFrom]) -> Iterator[str]:
    """Dotted names of imported definitions and of the modules they are imported from."""
    for node in imports:
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from (alias.name for alias in node.names)


def _plain_imports(package: Package, imports: Iterable[ast.Import | ast.ImportFrom]) -> set[Ref]:
    """Modules of the package that are imported as ``import ldae.x``."""
    plain = (node for node in imports if isinstance(node, ast.Import))
    names = (alias.name for node in plain for alias in node.names if not alias.asname)
    return {ref for ref in map(package.resolve, names) if ref is not None}


def _binds(node: ast.stmt) -> set[str]:
    """Names of definitions that a top-level statement makes or changes."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {_root(target) for each in node.targets for target in _flat(each)} - {""}
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        return {_root(node.target)} - {""}
    if _acts(node):  # if, try, for, with: the whole statement binds all names in it
        inner = list(ast.walk(node))
        defined = (each for each in inner if isinstance(each, ast.FunctionDef | ast.ClassDef))
        stored = (each for each in inner if isinstance(each, ast.Name))
        return {each.name for each in defined} | {
            each.id for each in stored if isinstance(each.ctx, ast.Store)
        }
    return set()


def _flat(target: ast.expr) -> list[ast.expr]:
    nested = isinstance(target, ast.Tuple | ast.List)
    return [each for part in target.elts for each in _flat(part)] if nested else [target]


def _root(target: ast.expr) -> str:
    while isinstance(target, ast.Subscript | ast.Attribute | ast.Starred):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _acts(node: ast.stmt) -> bool:
    """Whether a top-level statement does more than define or import."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)  # a docstring
    if isinstance(node, ast.If):
        return not _only_imports(node) and not ast.unparse(node.test).startswith("__name__ ==")
    if isinstance(node, ast.Assign):  # such as os.environ["..."] = ...
        return any(isinstance(target, ast.Subscript | ast.Attribute) for target in node.targets)
    defines = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.AnnAssign | ast.AugAssign
    return not isinstance(node, defines | ast.Import | ast.ImportFrom | ast.Pass)


def _is_without_effect(node: ast.AST) -> bool:
    """Whether a statement is a docstring, an import or a log line."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    value = node.value if isinstance(node, ast.Expr) else None
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        of = value.func.value
        return isinstance(of, ast.Name) and of.id in LOGGERS
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
