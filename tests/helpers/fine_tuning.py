"""Predictions of a fine-tuning experiment whose skill is planted, and their table."""

from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation.fine_tuning_cases import cases
from ldae.evaluation.fine_tuning_table import write_fine_tuning_table
from ldae.files import write_json, write_table

ABOUT = {"starts": ["scratch", "ldae"], "trainable": ["head", "all"], "people": [10, "all"]}
SKILL = {"scratch": 0.3, "ldae": 1.5}  # of the start, at ten people
PEOPLE = 40


def make_cases(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Predictions and model folders by case: the LDAE's start tells more, more so from few."""
    draw = np.random.default_rng(4)
    sick = np.repeat(np.arange(PEOPLE) % 2 == 1, 2)
    scans = pd.DataFrame({"scan_id": [f"s{i:03d}" for i in range(2 * PEOPLE)]})
    scans["participant_id"] = [f"p{i // 2:02d}" for i in range(2 * PEOPLE)]
    scans["diagnosis"] = np.where(sick, "AD", "CN")
    noise = np.repeat(draw.normal(size=PEOPLE), 2) + 0.3 * draw.normal(size=2 * PEOPLE)
    predictions, models = {}, {}
    for case in cases(ABOUT):
        risk = SKILL[case.start] * (2.0 if case.people == "all" else 1.0) * sick + noise
        predictions[case.name] = folder / f"evaluation/fine_tuning/{case.name}.tsv"
        write_table(scans.assign(probability=1 / (1 + np.exp(-risk))), predictions[case.name])
        models[case.name] = folder / f"models/fine_tuning/{case.name}"
        people = 400 if case.people == "all" else 2 * case.people
        learnt = {"people": people, "scans": 3 * people}
        card = {"kind": "supervised", "architecture": {}, "learnt_from": learnt, "sha256": ""}
        write_json(card, models[case.name] / "model.json")
    return predictions, models


def make_fine_tuning_table(folder: Path, resamples: int) -> None:
    """Write tables/fine_tuning.tsv below a results folder."""
    out = folder / "tables/fine_tuning.tsv"
    write_fine_tuning_table(*make_cases(folder), ["CN", "AD"], out, resamples, 0)
