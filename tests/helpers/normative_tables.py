"""Simulated people with measures of known quantiles, and the files of the normative view."""

from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation.normative.curves import FILE, NormativeCurves
from ldae.evaluation.normative.evaluate import people_seen
from ldae.evaluation.normative.fit import fit_curves
from ldae.evaluation.normative.measures import MEASURES
from ldae.evaluation.normative.tables import normative_table
from ldae.files import sha256, write_table

RESAMPLES = 20
SETTINGS = {"centiles": [5, 25, 50, 75, 95], "knots": 3, "degree": 2, "min_subjects": 20}
CLASSES = ("CN", "AD")


def simulated_people(count: int, seed: int, split: str = "train", shift: float = 0.0):
    """``count`` scans of as many people, 60 to 90 years: mean and spread grow with age.

    Each measure is normal: mean 0.5 age (men 5 more), SD 0.05 age, moved by ``shift`` SD.
    """
    draw = np.random.default_rng(seed)
    age = draw.uniform(60, 90, count)
    sex = np.where(draw.random(count) < 0.5, "M", "F")
    people = pd.DataFrame({"scan_id": [f"{split}{seed}-{i:05d}" for i in range(count)]})
    people["participant_id"] = people["scan_id"] + "p"
    people = people.assign(diagnosis="AD" if shift else "CN", age=age, sex=sex, split=split)
    for name in MEASURES:
        z = draw.normal(shift, 1, count)
        people[name] = 0.5 * age + 5 * (sex == "M") + 0.05 * age * z
    return people


def bundle_curves(folder: Path) -> NormativeCurves:
    """Write flat curves (0, 1 and 2 of every measure; men 10 more) beside the bundle's probes."""
    rows = np.array([[level, level, 10.0] for level in (0.0, 1.0, 2.0)])
    probes = {name: sha256(folder / name) for name in ("classifier.npz", "age_regressor.npz")}
    counts = {"subjects": 40, "scans": 60, "F": 20, "M": 20}
    coefficients = dict.fromkeys(MEASURES, rows)
    curves = NormativeCurves("CN", (5, 50, 95), 1, (60.0, 90.0), coefficients, counts, probes)
    curves.save(folder / FILE)
    return curves


def make_normative_tables(tables: Path, evaluation: Path, models: Path) -> None:
    """Write curves, test people and table, as the rule ``normative`` does."""
    few = SETTINGS | {"knots": 2, "degree": 1, "min_subjects": 10}
    curves = fit_curves(simulated_people(60, 0), list(MEASURES), "CN", few, {})
    curves.save(models / "application" / FILE)
    tested = pd.concat([simulated_people(30, 1, "test"), simulated_people(20, 2, "test", 1.0)])
    people = people_seen(curves, tested)
    write_table(people, evaluation / "normative_people.tsv")
    table = normative_table(curves, people, CLASSES, RESAMPLES, 0)
    write_table(table, tables / "normative.tsv")
