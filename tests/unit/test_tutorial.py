"""Tutorial notebook: its file, and its cells on random models.

The workflow tests run it on the results of a finished run.
"""

import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from helpers.models import DIM, SHAPE, bundle_settings
from ldae.application.bundle import write_bundle
from ldae.files import sha256
from ldae.inference.ldae_system import LdaeSystem

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
from run_notebook import NOTEBOOK, code_cells, execute


def probe(path: Path, **more) -> Path:
    """A linear probe of y_sem with random weights."""
    w = np.random.default_rng(0).normal(size=DIM)
    np.savez(path, mean=np.zeros(DIM), std=np.ones(DIM), w=w, b=0.0, **more)
    return path


@pytest.fixture(scope="module")
def finished(project, tmp_path_factory) -> Path:
    """A folder laid out like a finished run, of tiny random models."""
    models = project
    root = tmp_path_factory.mktemp("finished")
    (root / "Snakefile").touch()
    (root / "results/models").mkdir(parents=True)
    (root / "results/cache").mkdir()
    (root / "results/tables").mkdir()
    (root / "results/tables/probes.tsv").write_text("target\tsystem\nage\tldae\n")
    (root / "results/cache/volumes").symlink_to(models / "volumes")
    for stage in LdaeSystem.stages:
        (root / "results/models" / stage).symlink_to(models / stage)
    write_bundle(
        root / "results/models/application",
        {stage: models / stage for stage in LdaeSystem.stages},
        probe(models / "classifier.npz", classes=np.array(["CN", "AD"])),
        probe(models / "age.npz"),
        bundle_settings(models),
    )
    return root


def test_notebook_has_no_outputs_and_no_machine_paths():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 8
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert not re.search(r"/(work|home|root|tmp)/", NOTEBOOK.read_text())
    headings = [cell.source.splitlines()[0] for cell in notebook.cells if "## " in cell.source]
    steps = ["Load", "Compress", "Reconstruct", "Vary", "Classify", "Interpolate", "Manipulate"]
    assert [f"## {name}" for name in steps] == headings[:7]


def test_notebook_cells_run_and_write_no_file(finished, capsys):
    def state():
        return {path: sha256(path) for path in sorted(finished.rglob("*")) if path.is_file()}

    before = state()
    names = execute(finished)
    assert state() == before
    assert names["months"] == [0, 12, 24]
    logits = names["asked"].tolist()
    assert logits == sorted(logits) and logits[0] < logits[-1]
    assert names["truth"].shape == names["between"].shape == (1, 1, *SHAPE)
    printed = capsys.readouterr().out
    assert "AD with probability" in printed and "of the way; SSIM" in printed


def test_notebook_error_in_a_cell_is_raised(finished, tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell("results / missing"))
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    assert len(code_cells(tmp_path / "broken.ipynb")) == len(code_cells()) + 1
    with pytest.raises(NameError, match="missing"):
        execute(finished, tmp_path / "broken.ipynb")
