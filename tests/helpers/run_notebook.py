"""Tutorial notebook without Jupyter: its code cells run in order in one namespace."""

import os
from contextlib import chdir
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOK = Path(__file__).parents[2] / "docs/tutorial.ipynb"


def code_cells(path: Path = NOTEBOOK) -> list[str]:
    """Sources of the code cells."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def execute(folder: Path, path: Path = NOTEBOOK) -> dict[str, Any]:
    """Run the notebook as if opened in ``folder``; returns its namespace."""
    os.environ["MPLBACKEND"] = "agg"  # before matplotlib is imported: pictures go nowhere
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with chdir(folder):
        for number, source in enumerate(code_cells(path)):
            exec(compile(source, f"{path.name}[{number}]", "exec"), namespace)
    return namespace
