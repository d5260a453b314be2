"""Fingerprints of source: they cover the code that a stage runs, and nothing else."""

import json
import re
from pathlib import Path

import pytest

from ldae import fingerprint
from ldae.fingerprint import _known, closure, read_package, source_fingerprint
from ldae.source_graph import Module, Package

ROOT = Path(__file__).parents[2]

# A package in which `run.train` reaches a helper three imports away, but not its neighbours.
SOURCE = {
    "__init__": "",
    "run": '''
        """Trains."""
        import numpy as np
        from ldae.middle import Step, rate as speed
        EPOCHS = 3
        def train(x: int, decay=0.5) -> int:
            """Train."""
            from ldae.late import finish
            return finish(Step(np.abs(x), decay).go() * EPOCHS * speed())
        def unused(x):
            return x + 1
        ''',
    "middle": """
        from dataclasses import dataclass
        import ldae.patch
        from ldae.deep.passed_on import scale
        def twice(function):
            return lambda self: function(self) * 2
        @dataclass
        class Step:
            x: int
            decay: float
            size: int = 4
            @twice
            def go(self):
                return scale(self.x) * self.decay * self.size
        def rate():
            return 1
        def never():
            return 2
        """,
    "deep.__init__": "",
    "deep.passed_on": "from ldae.deep.helper import scale\n",
    "deep.helper": """
        FACTOR = 10
        FACTOR += 1
        OTHER = 5
        def scale(x):
            return x * FACTOR
        """,
    "late": """
        from ldae.errors import UserError, require
        def finish(x):
            require(x > 0, "x is too small")
            return open_table("weights.json", x)
        def open_table(name, x):
            return (name, x)
        """,
    "patch": "import os\nHELD = os.getpid()\n",
    "errors": """
        class UserError(Exception):
            pass
        def require(condition, message):
            if not condition:
                raise UserError(message)
        """,
    "figures.__init__": "",
    "figures.all": """
        from importlib import import_module
        def draw(name):
            return import_module(f"ldae.figures.{name}").draw()
        """,
    "figures.one": "def draw():\n    return 1\n",
}


class Source:
    """The package on disk, for tests to edit."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name, text in SOURCE.items():
            self.write(name, re.sub(r"^ {8}", "", text, flags=re.MULTILINE))
        (folder / "weights.json").write_text("{}")

    def path(self, name: str) -> Path:
        return self.folder.joinpath(*name.split(".")).with_suffix(".py")

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(exist_ok=True)
        self.path(name).write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = self.path(name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def fingerprint(self, *entries: str) -> str:
        read_package.cache_clear()
        _known.cache_clear()
        return source_fingerprint(*entries or ("run:train",))


@pytest.fixture
def package(tmp_path, monkeypatch) -> Source:
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path)
    return Source(tmp_path)


def test_stored_fingerprints_are_used_for_the_same_files_alone(package, monkeypatch):
    """Another process reads them; any change of a file, also of data, makes them void."""
    before = package.fingerprint()
    _known(package.folder)._store()
    computed = []
    monkeypatch.setattr(fingerprint, "_computed", lambda *names: computed.append(names) or "new")
    assert package.fingerprint() == before and not computed
    assert package.fingerprint("middle") == "new" and computed == [("middle",)]
    package.replace("run", "EPOCHS = 3", "EPOCHS = 4")
    assert package.fingerprint() == "new"
    package.replace("run", "EPOCHS = 4", "EPOCHS = 3")
    assert package.fingerprint() == before
    known = _known(package.folder)
    package.replace("run", "EPOCHS = 3", "EPOCHS = 5")  # while the process runs
    known("late")
    known._store()
    package.replace("run", "EPOCHS = 5", "EPOCHS = 3")
    stored = json.loads((package.folder / "__pycache__/fingerprints.json").read_text())
    assert "late" not in stored["values"]
    (package.folder / "__pycache__/fingerprints.json").write_text("{damaged")
    assert package.fingerprint() == "new"


UNCHANGED = {
    "a docstring": ("run", '"""Train."""', '"""Learn, at length."""'),
    "a module's docstring": ("run", '"""Trains."""', '"""Learns."""'),
    "a comment": ("deep.helper", "return x * FACTOR", "# times\n    return x * FACTOR  # ten"),
    "a line break": ("run", "decay=0.5) -> int", "decay=0.5,\n) -> int"),
    "a type hint": ("run", "x: int, decay=0.5) -> int", "x: float, decay=0.5) -> float"),
    "a function that is not reached": ("run", "return x + 1", "return x + 2"),
    "a constant that is not reached": ("deep.helper", "OTHER = 5", "OTHER = 6"),
    "a method's neighbour": ("middle", "return 2", "return 3"),
    "an import": ("middle", "import scale\n", "import scale\nfrom ldae.deep.helper import OTHER\n"),
    "the message of an error": ("late", "x is too small", "x is below 0"),
}
CHANGED = {
    "a constant": ("run", "EPOCHS = 3", "EPOCHS = 4"),
    "a statement that changes a constant": ("deep.helper", "FACTOR += 1", "FACTOR += 2"),
    "a default argument": ("run", "decay=0.5", "decay=0.6"),
    "a decorator": ("middle", "@twice\n    def go", "def go"),
    "what a decorator does": ("middle", "function(self) * 2", "function(self) * 3"),
    "a dataclass's default": ("middle", "size: int = 4", "size: int = 5"),
    "a helper three imports away": ("deep.helper", "return x * FACTOR", "return x + FACTOR"),
    "an import inside a function": ("late", "return (name, x)", "return (x, name)"),
    "what an import does": ("patch", "os.getpid()", "os.getppid()"),
    "where a name is imported from": ("run", "import numpy as np", "import torch as np"),
    "the condition of an error": ("late", "require(x > 0", "require(x > 1"),
}


@pytest.mark.parametrize("edit", UNCHANGED)
def test_fingerprint_ignores_edits_without_effect_on_results(package, edit):
    before = package.fingerprint()
    package.replace(*UNCHANGED[edit])
    assert package.fingerprint() == before


@pytest.mark.parametrize("edit", CHANGED)
def test_fingerprint_changes_with_code_that_results_depend_on(package, edit):
    before = package.fingerprint()
    package.replace(*CHANGED[edit])
    assert package.fingerprint() != before


def test_fingerprint_ignores_moved_definitions_and_renamed_files(package):
    before = package.fingerprint()
    package.path("deep.helper").rename(package.path("deep.factors"))
    package.replace("deep.passed_on", "ldae.deep.helper", "ldae.deep.factors")
    assert package.fingerprint() == before
    # The constant, the statement that changes it and the function move to the re-exporting module.
    package.write("deep.passed_on", package.path("deep.factors").read_text())
    assert package.fingerprint() == before
    package.replace("run", "from ldae.middle import Step, rate as speed", "from ldae import middle")
    package.replace("run", "Step(", "middle.Step(")
    package.replace("run", "speed()", "middle.rate()")
    assert package.fingerprint() == before


def test_fingerprint_includes_the_content_of_named_data_files(package):
    before = package.fingerprint()
    (package.folder / "other.json").write_text("1")
    assert package.fingerprint() == before
    (package.folder / "weights.json").write_text("[]")
    assert package.fingerprint() != before


def test_fingerprint_includes_all_of_modules_imported_by_a_string(package):
    before = package.fingerprint("figures.all:draw")
    package.replace("figures.one", "return 1", "return 2")
    assert package.fingerprint("figures.all:draw") != before


def test_new_definition_changes_only_the_fingerprint_of_its_module(package):
    definition, module = package.fingerprint("run:train"), package.fingerprint("run")
    package.write("run", package.path("run").read_text() + "\nNEW = 1\n")
    assert package.fingerprint("run:train") == definition
    assert package.fingerprint("run") != module


def test_fingerprint_of_a_missing_module_or_definition_is_an_error(package):
    with pytest.raises(FileNotFoundError, match="no_such_module"):
        package.fingerprint("no_such_module:train")
    with pytest.raises(LookupError, match="no_such_definition"):
        package.fingerprint("run:no_such_definition")
    package.replace("middle", "class Step", "class Stride")
    with pytest.raises(LookupError, match="Step"):
        package.fingerprint()


TRAININGS = {
    "autoencoder": set(),
    "ldm": {"nets.unet:UNet"},
    "ldae": {
        "nets.unet:UNet",
        "nets.gradient_estimator:GradientEstimator",
        "nets.semantic_encoder:SemanticEncoder",
    },
    "dae": {"nets.conditional_unet:ConditionalUNet", "nets.semantic_encoder:SemanticEncoder"},
    "supervised": {"nets.semantic_encoder:SemanticEncoder"},
}
NETWORKS = set().union(*TRAININGS.values())


@pytest.mark.parametrize("stage", TRAININGS)
def test_training_fingerprint_includes_only_networks_that_it_calls(stage):
    found = closure(f"training.stages:{stage}", "training.loop:fit")
    names = {f"{ref.module}:{ref.name}" for ref in found.definitions}
    assert names & NETWORKS == TRAININGS[stage]
    assert not any(name.startswith(("figures.", "report.", "preprocess.")) for name in names)


def test_embeddings_of_a_system_do_not_depend_on_networks_of_another():
    embed = "inference.embeddings:embed"
    ldae = closure(embed, "inference.embeddings:ldae_encoder").definitions
    dae = closure(embed, "inference.dae_system:dae_encoder").definitions
    names = [{f"{ref.module}:{ref.name}" for ref in found} & NETWORKS for found in (ldae, dae)]
    assert names == [{"nets.semantic_encoder:SemanticEncoder"}, TRAININGS["dae"]]


def rules() -> list[tuple[str, list[str], str]]:
    """Rules with a param ``source``: rule file, entries that the param names, and script."""
    found = []
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for text in re.split(r"\n\s*rule\b", path.read_text())[1:]:
            script = re.search(r'script:\s+"\.\./(scripts/\w+\.py)"', text)
            source = re.search(r"\bsource=source\((.*?)\)", text, re.DOTALL)
            if script and source:
                found.append((path.name, re.findall(r'"([\w.]+:\w+)"', source[1]), script[1]))
    return found


def test_rule_sources_cover_all_that_their_scripts_import():
    loaded_by = ["inference.ldae_system:LdaeSystem", "inference.dae_system:DaeSystem"]
    package = Package(fingerprint.PACKAGE)
    found = rules()
    assert len(found) > 35
    for rule, entries, script in found:
        covered = closure(*entries, *loaded_by).definitions.keys()
        uses = Module(package, script, ROOT / "workflow" / script).definition(None).uses
        for ref in (ref for ref in uses if ref.module != script):
            needed = closure(f"{ref.module}:{ref.name}").definitions.keys()
            assert needed <= covered, f"{rule}: {script} imports {ref.module}:{ref.name}"
