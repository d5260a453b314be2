"""Sample in the package: models trained on synthetic brains, one raw head, its visits, a card.

Folder ``src/ldae/sample``, at most 5 MB, made by ``make sample``
(:mod:`ldae.application.sample_packing`):

    sample.json     card: command, commit, configuration, subject and truth, findings, SHA-256s
    README.md       the same to read
    head.nii.gz     raw head of the first visit, with its skull
    visits.tsv      file, months, age, diagnosis and true volumes (ml) of each visit
    visit-*.nii.gz  the visits, preprocessed
    models/         a folder of models as results/models of a finished run

No person is in it, and the models have seen no patient.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from ldae.files import read_json, read_table

FOLDER = Path(__file__).parents[1] / "sample"
CARD, PAGE, HEAD_NAME, VISITS = "sample.json", "README.md", "head.nii.gz", "visits.tsv"
MODELS, HEAD = FOLDER / "models", FOLDER / HEAD_NAME


def sample_card() -> dict[str, Any]:
    """The content of ``sample.json``."""
    return read_json(FOLDER / CARD)


def sample_visits() -> pd.DataFrame:
    """The visits in order: ``file`` (absolute path), months, age (years), diagnosis, volumes (ml).

    The files are preprocessed scans: what ``ldae encode`` and its like read.
    """
    visits = read_table(FOLDER / VISITS, ("file", "months", "age", "diagnosis"))
    return visits.assign(file=[FOLDER / name for name in visits["file"]])
