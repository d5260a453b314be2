"""Normative view of a run: curves of healthy training people, and where test people lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.data.datasets import labelled
from ldae.data.embeddings import aligned_embeddings
from ldae.evaluation.normative.curves import NormativeCurves
from ldae.evaluation.normative.fit import fit_curves
from ldae.evaluation.normative.measures import MEASURES, VOLUMES
from ldae.evaluation.normative.readings import penalties, readings
from ldae.evaluation.normative.tables import normative_table
from ldae.evaluation.probes.features import TEST, TRAINING, aligned_table
from ldae.evaluation.probes.target_table import AGE, DIAGNOSIS
from ldae.files import read_table, sha256, write_table

FITTED = "train"  # split whose people the curves are fitted on
COLUMNS = ("scan_id", "participant_id", "diagnosis", "age", "sex", "split")
PEOPLE = [
    "scan_id", "participant_id", "diagnosis", "sex", "age", "measure", "value", "percentile",
    "deviation",
]  # fmt: skip


@dataclass(frozen=True)
class NormativeSources:
    """Files that the normative view reads.

    Attributes:
        index: TSV of the volume store's scans.
        embeddings: y_sem of all scans by the LDAE's encoder.
        volumes: TSV of tissue volumes of every scan.
        probes: Table of the probes, for their penalties.
        classifier, age_regressor: Files (npz) of the bundle's probes.
    """

    index: str | Path
    embeddings: str | Path
    volumes: str | Path
    probes: str | Path
    classifier: str | Path
    age_regressor: str | Path


def evaluate_normative(
    sources: NormativeSources,
    out: Mapping[str, str | Path],
    cfg: Mapping[str, Any],
    seed: int,
) -> None:
    """Fit the curves on training people, and see test people against them.

    The curves are fitted on scans of the split ``train`` whose diagnosis is the negative class. No
    test person enters them.

    Args:
        sources: Files to read.
        out: Files to write: ``curves`` (JSON,
            :class:`ldae.evaluation.normative.curves.NormativeCurves`), ``people`` (TSV, a row for
            each test scan and measure, columns :data:`PEOPLE`) and ``table`` (TSV,
            :func:`ldae.evaluation.normative.tables.normative_table`).
        cfg: Keys ``normative``, ``probes`` (``cv_folds``), ``targets`` (the diagnosis' classes) and
            ``bootstrap`` of section ``evaluation``.
        seed: Seed of folds and resamples.

    Raises:
        UserError: a scan lacks its code or volumes, or a column or a penalty is missing.
    """
    classes = tuple(cfg["targets"][DIAGNOSIS]["classes"])
    files = {DIAGNOSIS: sources.classifier, AGE: sources.age_regressor}
    scans = _scans(sources)
    measured = aligned_table(sources.volumes, scans["scan_id"])
    scans = scans.join(pd.DataFrame(measured, columns=list(VOLUMES)))
    y = aligned_embeddings(sources.embeddings, scans["scan_id"])
    penalty = penalties(read_table(sources.probes, ("target", "system", "probe", "penalty")))
    scans = scans.join(readings(y, scans, files, penalty, classes, cfg["probes"]["cv_folds"], seed))
    fitted = scans[(scans["split"] == FITTED) & (scans["diagnosis"] == classes[0])]
    hashes = {Path(path).name: sha256(path) for path in files.values()}
    curves = fit_curves(fitted, list(MEASURES), classes[0], cfg["normative"], hashes)
    curves.save(out["curves"])
    people = people_seen(curves, scans[scans["split"] == TEST])
    write_table(people, out["people"])
    write_table(normative_table(curves, people, classes, cfg["bootstrap"], seed), out["table"])


def _scans(sources: NormativeSources) -> pd.DataFrame:
    """Training and test scans with known age and sex, by scan_id."""
    table = read_table(sources.index, COLUMNS)[list(COLUMNS)]
    table = table[table["split"].isin([*TRAINING, TEST]) & labelled(table, "age", [])]
    return table.sort_values("scan_id", ignore_index=True)


def people_seen(curves: NormativeCurves, scans: pd.DataFrame) -> pd.DataFrame:
    """Rows of scans by measure: value, percentile and deviation, empty outside the range of ages.

    Args:
        curves: The curves.
        scans: Columns of the index, and the measures.
    """
    parts = []
    for measure in curves.coefficients:
        values = scans[measure].to_numpy()
        found = curves.deviations(measure, values, scans["age"].to_numpy(), scans["sex"])
        columns = {"value": values, "deviation": found, "percentile": curves.percentiles(found)}
        parts.append(scans[list(COLUMNS)].assign(measure=measure, **columns))
    joined = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=PEOPLE)
    return joined[PEOPLE]
