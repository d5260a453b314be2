"""Registry of the figures by name, and the entry point that draws them.

matplotlib is imported only when a figure is drawn: the workflow reads ``FIGURES`` without it.
"""

import logging
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ldae.errors import UserError, require
from ldae.files import atomic, write_table


class Figure(NamedTuple):
    """Entry of a figure in the report, and the module that draws it.

    Attributes:
        section: Key of the report's section (:data:`ldae.report.sections.SECTIONS`).
        about: Description in a sentence, in reStructuredText.
        module: Module of this package that draws it; empty if named like the figure.
    """

    section: str
    about: str
    module: str = ""


# In the order of the report. The names are those of the figures' files.
FIGURES = {
    "cohort_flow": Figure(
        "cohort",
        "Every image of the download, from the study tables to the splits, with the "
        "number left out at each stage. Counts: ``results/tables/flow.tsv``; image by "
        "image with reasons: ``results/cohort/ledger.tsv``.",
    ),
    "cohort_qc": Figure(
        "quality",
        "Quality of preprocessing: distributions of correlation with the template, Dice "
        "overlap, brain volume, determinant of the affine and signal to noise, and the "
        "registered brains least like the template.",
    ),
    "training_curves": Figure(
        "training",
        "Training losses and validation of the three stages; the dashed line marks the "
        "epoch whose weights are used from then on.",
    ),
    "figure3_reconstruction": Figure(
        "reconstruction",
        "Figure 3 of the paper: test scans, their reconstruction by the autoencoder, and "
        "the absolute error.",
    ),
    "ddim_steps": Figure(
        "reconstruction",
        "Table 6 of the paper as a figure: quality of reconstruction against the number "
        "of DDIM steps, and the control that decodes with another subject's y_sem.",
    ),
    "guidance": Figure(
        "reconstruction",
        "What guidance by y_sem does to the noise-prediction loss on unseen subjects: "
        "own, another subject's and mean y_sem.",
    ),
    "solvers": Figure(
        "reconstruction",
        "What fewer calls of the network cost: reconstruction, missing visits and manipulation by "
        "every solver of the diffusion.",
    ),
    "figure4_variation": Figure(
        "reconstruction",
        "Figure 4 of the paper: what y_sem fixes and what z_T varies, for one CN and one AD scan.",
    ),
    "figure5_lda": Figure(
        "representation",
        "Figure 5 of the paper: linear discriminant projection of y_sem, fitted on "
        "training scans; only test people (filled) show how well the classes separate.",
    ),
    "probes": Figure(
        "representation",
        "Table 7 of the paper as a figure: linear probes of frozen embeddings for "
        "diagnosis and age, with controls and 95 % intervals over subjects.",
    ),
    "targets": Figure(
        "targets",
        "Every target of the probes by the LDAE and the best baseline, with 95 % intervals "
        "over subjects; calibration and net benefit of the binary ones.",
    ),
    "scanner": Figure(
        "scanner",
        "What codes tell of site and scanner before and after ComBat, with 95 % intervals over "
        "subjects and the range of permuted labels.",
    ),
    "normative": Figure(
        "normative",
        "Test people against centile curves of healthy training people along age, by sex, and "
        "the share of held-out healthy people below each curve.",
    ),
    "fine_tuning": Figure(
        "fine_tuning",
        "What few labels suffice for: AUROC of the diagnosis by the number of training people, of "
        "encoders from scratch and of encoders that learnt before, with 95 % intervals over "
        "subjects.",
    ),
    "figure6_progression": Figure(
        "manipulation",
        "Figure 6 of the paper: one AD scan moved towards CN in steps of growing "
        "strength, with the signed change below each plane.",
    ),
    "figure7_manipulation": Figure(
        "manipulation",
        "Figure 7 of the paper: an AD scan moved towards CN and a CN scan moved towards "
        "AD, with signed differences to the original and to the unmanipulated decoding.",
    ),
    "manipulation_dose": Figure(
        "manipulation",
        "Effect of manipulation over all evaluated test scans against its strength: along "
        "the classifier, orthogonal to age, and in random directions.",
        module="manipulation_strength",
    ),
    "figure8_interpolation": Figure(
        "interpolation",
        "Figure 8 of the paper: error of interpolated visits against the prediction gap, "
        "beside trivial baselines; below, of visits predicted from the two before.",
    ),
    "figure9_interpolation_example": Figure(
        "interpolation",
        "Figure 9 of the paper: one subject's visits, real, interpolated from the first and "
        "the last, and predicted by trivial baselines, with changes from the first visit.",
    ),
    "saliency": Figure(
        "saliency",
        "What of a scan the diagnosis is read from, class by class: integrated gradients and "
        "occlusion of the read-out of y_sem.",
    ),
    "saliency_checks": Figure(
        "saliency",
        "Attention of the encoder over slices, and whether the saliency maps change with the "
        "weights and, where it is known, follow the truth.",
    ),
    "truth": Figure(
        "truth",
        "Synthetic cohorts only: what probes of y_sem say against the atrophy that was "
        "put into the heads.",
        module="ground_truth",
    ),
    "counterfactual": Figure(
        "truth",
        "Synthetic cohorts only: how near manipulation comes to the same head with the "
        "other atrophy.",
    ),
    "counterfactual_example": Figure(
        "truth",
        "Synthetic cohorts only: two manipulated scans beside what they would truly look like.",
    ),
}
DEFAULTS = {"dpi": 200}


def draw(
    name: str,
    inputs: dict[str, Any],
    outputs: dict[str, str | Path],
    settings: dict[str, Any] | None = None,
) -> None:
    """Draw one figure from tables and arrays and write its five files.

    Args:
        name: One of ``FIGURES``.
        inputs: Path (or list of paths, where the figure says so) of each input, by name.
        outputs: Paths of ``pdf``, ``png``, ``data``, ``caption`` and ``result`` (text).
        settings: ``dpi``; and settings of single figures: ``spacing`` in mm, for volumes whose file
            does not hold it, ``paper``, the systems beside which the paper's values are drawn
            (:func:`ldae.evaluation.published_values.comparable_systems`), ``qc``, the bounds of the
            quality measures, and ``template``, the name of the template's space.

    Raises:
        UserError: unknown name, missing input, or an input without the columns or arrays needed.
    """
    from ldae.figures.style import save, style

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
    for key, text in (("caption", drawing.caption), ("result", f"{drawing.result}\n")):
        with atomic(outputs[key]) as path:
            path.write_text(text, encoding="utf-8")
    logging.info("%s: %s", name, drawing.title)


def _figure(name: str) -> ModuleType:
    if name not in FIGURES:
        raise UserError(f"There is no figure {name!r}; there are {', '.join(FIGURES)}.")
    return import_module(f"ldae.figures.{FIGURES[name].module or name}")


def _write_data(data: pd.DataFrame | dict[str, np.ndarray], path: Path) -> None:
    if isinstance(data, pd.DataFrame):
        write_table(data, path)
        return
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **data)
