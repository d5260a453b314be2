"""Start-up time: the heavy packages that each script of the workflow and the command line import.

A run starts about 75 jobs. torch costs each a second of CPU or more, timm and torchvision two,
MONAI and ANTsPy another two each.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ldae.application.sample import MODELS

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow/scripts"
HEAVY = {"ants", "lpips", "matplotlib", "monai", "sklearn", "timm", "torch", "torchvision"}
ANTS = {"ants", "matplotlib", "sklearn"}  # ANTsPy itself imports the other two
PROBES = {"sklearn", "torch"}  # timm waits for an encoder of slices, MONAI for an autoencoder
# Script -> packages that it may import before it does its work. All others import none.
ALLOWED = {
    "brain_extraction": ANTS,
    "n4": ANTS,
    "preprocessed_input": ANTS,
    "registration": ANTS,
    "template_picture": ANTS,
    "counterfactual_volumes": ANTS | {"torch"},
    "fine_tune": {"torch"},
    "supervised": {"torch"},
    "synthetic": {"torch"},
    "tissue_volumes": {"torch"},
    "train": {"torch"},
    "latents_pca": PROBES,
    "normative": PROBES,
    "probe_target": PROBES,
    "probes_external": PROBES,
    "scanner": PROBES,
    "confounding": PROBES,
    "fairness": PROBES,
    "truth": PROBES,
    "planted": PROBES,
    "code_shard": PROBES,
    "counterfactual": PROBES,
    "embeddings": PROBES,
    "embeddings_encoder": PROBES,
    "examples": PROBES,
    "explore": PROBES,
    "guidance": PROBES,
    "inference": PROBES,
    "interpolation": PROBES,
    "manipulation": PROBES,
    "reconstruction": PROBES,
    "reconstruction_external": PROBES,
    "saliency": PROBES | {"matplotlib"},  # which captum imports
    "solvers": PROBES,
    "published": HEAVY,  # builds all networks
    "sample": HEAVY,  # applies the models to a raw head
}
# Modules that scripts import by names in params, and those of the command line.
BY_NAME = {
    "inference.dae_system": PROBES,
    "inference.ldae_system": PROBES,
    "application.commands": PROBES,
}
FIGURES = [path.stem for path in sorted((ROOT / "src/ldae/figures").glob("[a-z]*.py"))]
BY_NAME |= {f"figures.{name}": {"matplotlib"} for name in FIGURES}


def imported(code: str) -> set[str]:
    """Heavy packages that a new process has imported after running ``code``."""
    report = f"import json, sys; print(json.dumps(sorted({HEAVY} & sys.modules.keys())))"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def imports(script: Path) -> list[str]:
    """Import statements of a script, as text, without those of its neighbour ``_adapter``."""
    found = (node for node in ast.walk(ast.parse(script.read_text())))
    statements = (node for node in found if isinstance(node, ast.Import | ast.ImportFrom))
    return [ast.unparse(node) for node in statements if getattr(node, "module", "") != "_adapter"]


def groups() -> dict[frozenset[str], list[str]]:
    """Allowed packages -> import statements of all scripts and modules with this allowance."""
    found: dict[frozenset[str], list[str]] = {}
    for script in sorted(SCRIPTS.glob("[a-z]*.py")):
        found.setdefault(frozenset(ALLOWED.get(script.stem, ())), []).extend(imports(script))
    for module, allowed in BY_NAME.items():
        found.setdefault(frozenset(allowed), []).append(f"import ldae.{module}")
    return found


GROUPS = {" ".join(sorted(allowed)) or "nothing": lines for allowed, lines in groups().items()}


@pytest.mark.parametrize("allowed", [name for name in GROUPS if len(name.split()) < len(HEAVY)])
def test_scripts_import_only_heavy_packages_that_they_use(allowed):
    extra = imported("\n".join(GROUPS[allowed])) - set(allowed.split())
    assert not extra, f"Some of these import {extra}:\n" + "\n".join(GROUPS[allowed])


def test_every_allowance_belongs_to_a_script():
    assert ALLOWED.keys() <= {script.stem for script in SCRIPTS.glob("*.py")}
    assert len(GROUPS["nothing"]) > 50


def test_help_and_errors_of_the_command_line_import_nothing_heavy(tmp_path):
    scan = tmp_path / "a.nii.gz"
    scan.touch()
    code = f"""
from ldae.cli.main import main
encode = ["encode", {str(scan)!r}, "--out", "b.npz"]
assert main(["--help"]) == main(["encode", "--help"]) == 0
assert main(["encode"]) == main([*encode, "--device", "tpu"]) == 2
assert main([*encode, "--models", {str(tmp_path)!r}]) == 1
assert main(["apply", {str(MODELS.parent / "visit-month00.nii.gz")!r}, "--sample"]) == 1  # a brain
"""
    assert imported(code) == set()


def test_packing_a_registered_scan_imports_neither_torch_nor_monai(tmp_path):
    path, affine = tmp_path / "scan.nii.gz", np.diag([4, 4, 4, 1])
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((7, 8, 9), "f4"), affine), path)
    code = f"""
from ldae.data.thumbnails import thumbnail
from ldae.data.volume_transform import StoreTransform, to_stored
volume, affine = StoreTransform(4.0, [8, 8, 8], "linear")({str(path)!r})
thumbnail(to_stored(volume, "float16"))
"""
    assert imported(code) == set()
