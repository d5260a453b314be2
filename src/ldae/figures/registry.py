"""All figures by name, and the one entry point that draws any of them."""

import logging
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from ldae.errors import UserError, require
from ldae.figures.style import save, style
from ldae.files import atomic, write_table

# In the order of the report: name of the figure and of its files -> module of this package, which
# is imported when it is drawn.
FIGURES = {
    "cohort_flow": "cohort_flow",
    "cohort_qc": "cohort_qc",
    "training_curves": "training_curves",
    "figure3_reconstruction": "figure3_reconstruction",
    "ddim_steps": "ddim_steps",
    "guidance": "guidance",
    "figure4_variation": "figure4_variation",
    "figure5_lda": "figure5_lda",
    "probes": "probes",
    "figure6_progression": "figure6_progression",
    "figure7_manipulation": "figure7_manipulation",
    "manipulation_dose": "manipulation_strength",
    "figure8_interpolation": "figure8_interpolation",
    "figure9_interpolation_example": "figure9_interpolation_example",
    "truth": "ground_truth",
    "counterfactual": "counterfactual",
    "counterfactual_example": "counterfactual_example",
}
DEFAULTS = {"dpi": 200}


def required_inputs(name: str) -> tuple[str, ...]:
    """Names of the inputs that ``draw(name, ...)`` cannot do without."""
    return tuple(_figure(name).INPUTS)


def output_names(name: str) -> dict[str, str]:
    """File names of a figure's outputs: pdf, png, data (tsv or npz) and caption."""
    return {
        "pdf": f"{name}.pdf",
        "png": f"{name}.png",
        "data": f"{name}.{_figure(name).DATA}",
        "caption": f"{name}.caption.txt",
    }


def draw(
    name: str,
    inputs: dict[str, Any],
    outputs: dict[str, str | Path],
    settings: dict[str, Any] | None = None,
) -> None:
    """Draw one figure from tables and arrays and write its four files.

    Args:
        name: One of ``FIGURES``.
        inputs: Path (or list of paths, where the figure says so) of each input, by name.
        outputs: Where to write ``pdf``, ``png``, ``data`` and ``caption``.
        settings: The ``figures`` section of the config, and whatever else the figure reads
            (``spacing`` in mm, for volumes whose file does not hold it).

    Raises:
        UserError: unknown name, missing input, or an input without the columns or arrays needed.
    """
    figure = _figure(name)
    for key, meaning in figure.INPUTS.items():
        require(
            bool(inputs.get(key)),
            f"Figure {name} needs the input {key!r} ({meaning}), which was not given.",
        )
    unknown = set(inputs) - set(figure.INPUTS) - set(figure.OPTIONAL)
    if unknown:
        raise UserError(
            f"Figure {name} has no input {sorted(unknown)[0]!r}; "
            f"it takes {', '.join([*figure.INPUTS, *figure.OPTIONAL])}."
        )
    settings = DEFAULTS | (settings or {})
    with style():
        drawing = figure.draw(inputs, settings)
        save(drawing.figure, outputs["pdf"], outputs["png"], settings["dpi"])
    _write_data(drawing.data, Path(outputs["data"]))
    with atomic(outputs["caption"]) as path:
        path.write_text(drawing.caption, encoding="utf-8")
    logging.info("%s: %s", name, drawing.title)


def _figure(name: str) -> ModuleType:
    if name not in FIGURES:
        raise UserError(f"There is no figure {name!r}; there are {', '.join(FIGURES)}.")
    return import_module(f"ldae.figures.{FIGURES[name]}")


def _write_data(data: pd.DataFrame | dict[str, np.ndarray], path: Path) -> None:
    if isinstance(data, pd.DataFrame):
        write_table(data, path)
        return
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **data)
