"""Tutorial notebook: its file, and its cells on the sample in the package.

The workflow tests run it on the results of a finished run.
"""

import re
from pathlib import Path

import nbformat
import pytest

from helpers.run_notebook import NOTEBOOK, code_cells, execute
from ldae.application.sample import FOLDER, sample_visits
from ldae.files import sha256


@pytest.fixture
def clone(tmp_path) -> Path:
    """A project's folder without results."""
    (tmp_path / "Snakefile").touch()
    return tmp_path


def test_notebook_has_no_outputs_and_no_machine_paths():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 8
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert not re.search(r"/(work|home|root|tmp)/", NOTEBOOK.read_text())
    headings = [cell.source.splitlines()[0] for cell in notebook.cells if "## " in cell.source]
    steps = ["Load", "Compress", "Reconstruct", "Vary", "Classify", "Interpolate", "Manipulate"]
    assert [f"## {name}" for name in steps] == headings[:7]


def test_notebook_runs_on_the_sample_and_writes_no_file(clone, capsys):
    def state():
        files = [path for folder in (clone, FOLDER) for path in folder.rglob("*")]
        return {path: sha256(path) for path in files if path.is_file()}

    before = state()
    names = execute(clone)
    assert state() == before
    assert names["months"] == sample_visits()["months"].tolist() == [0, 12, 24]
    logits = names["asked"].tolist()
    assert logits == sorted(logits) and logits[0] < logits[-1]
    assert names["truth"].shape == names["between"].shape == names["x"].shape
    printed = capsys.readouterr().out
    assert "have seen no patient" in printed
    assert "AD with probability" in printed and "of the way; SSIM" in printed


def test_notebook_error_in_a_cell_is_raised(clone):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell("results / missing"))
    nbformat.write(notebook, clone / "broken.ipynb")
    assert len(code_cells(clone / "broken.ipynb")) == len(code_cells()) + 1
    with pytest.raises(NameError, match="missing"):
        execute(clone, clone / "broken.ipynb")
