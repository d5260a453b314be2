"""Planted truths: whether labels and sites that were planted in a cohort are found as they must be.

One table holds what was planted, what must be found of it, and what was found: targets of each kind
and pure noise (:mod:`ldae.ground_truth.planted_targets`), and sites whose codes are shifted
(:mod:`ldae.ground_truth.planted_scanner`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.errors import require
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData, load_probe_data
from ldae.evaluation.probes.target_table import BINARY, DIAGNOSIS, make_target
from ldae.files import read_table, write_table
from ldae.ground_truth.planted_labels import SIGNALS
from ldae.ground_truth.planted_relations import EVEN, SKEWED
from ldae.ground_truth.planted_scanner import confounding_of_sites, scanner_rows
from ldae.ground_truth.planted_targets import (
    LDAE,
    ORACLE,
    expected_scores,
    null_rows,
    read_values,
    target_rows,
)
from ldae.ground_truth.truth import VISIT

FEWEST = 20  # people of a split, of whom intervals and p values say something
COLUMNS = [
    "part", "planted", "relation", "size", "system", "metric", "chance", "expected", "value",
    "ci_low", "ci_high", "p", "p_holm", "null_low", "null_high", "flag", "n_scans", "n_subjects",
    "note",
]  # fmt: skip


def evaluate_planted(
    sources: Mapping[str, Any],
    table: str | Path,
    cfg: Mapping[str, Any],
    classes: tuple[str, str],
    seed: int,
) -> None:
    """Write what was found of planted targets and sites, beside what must be found.

    Args:
        sources: ``labels`` (of
            :func:`ldae.ground_truth.planted_labels.write_planted_labels`), ``targets``
            (targets.tsv), ``embeddings`` (system to file), ``latents`` (folder), ``pca``,
            ``volumes``, ``oracle`` and ``visits`` (scans.tsv).
        table: TSV to write, columns :data:`COLUMNS`. ``part``: ``target``, ``noise``, ``null``
            (:mod:`ldae.ground_truth.planted_targets`), ``site``, ``harmonised``, ``diagnosis``,
            ``gain``, ``harmonised gain`` and ``confounding``
            (:mod:`ldae.ground_truth.planted_scanner`). ``size``: of a shift, in SDs of the code.
            With fewer than :data:`FEWEST` people to train or to test on one row, whose ``note``
            says so.
        cfg: Keys ``planted``, ``scanner``, ``probes`` and ``bootstrap`` of section ``evaluation``.
        classes: Negative and positive diagnosis.
        seed: Of folds, resamples, permutations and directions.

    Raises:
        UserError: a planted target is not among the targets, or the labels lack a scan.
    """
    measured = {name: sources[name] for name in ("volumes", ORACLE)}
    data = load_probe_data(
        sources["latents"], dict(sources["embeddings"]), seed, measured, pca=sources["pca"]
    )
    scans, folds = data.table, cfg["probes"]["cv_folds"]
    labels = read_table(sources["labels"], [*VISIT, *SIGNALS, EVEN, SKEWED, "share_at_b"])
    labels = scans[VISIT].merge(labels, on=VISIT, how="left", validate="many_to_one")
    lost = int(labels[EVEN].isna().sum())
    require(
        lost == 0,
        f"{sources['labels']} lacks {lost} scan(s). Delete it, so that it is made again for the "
        "present cohort.",
    )
    values, test = labels[list(SIGNALS)], (scans["split"] == TEST).to_numpy()
    training = scans["split"].isin(TRAINING).to_numpy()
    sizes = {
        name: scans.loc[part, "participant_id"].nunique()
        for name, part in (("test", test), ("training", training))
    }
    fewest = min(sizes, key=sizes.__getitem__)
    if sizes[fewest] < FEWEST:
        note = f"too few {fewest} people: {sizes[fewest]}, and {FEWEST} are needed"
        write_table(pd.DataFrame([{"part": "none", "note": note}], columns=COLUMNS), table)
        return
    read = read_values(data.features[LDAE], values, scans, folds)
    drawn = cfg["planted"]["seed"]
    expected = {
        ORACLE: expected_scores(values, values, drawn),
        LDAE: expected_scores(values[test].reset_index(drop=True), read, drawn),
    }
    rows = list(target_rows(read_table(sources["targets"]), expected))
    rows += null_rows(data.features[LDAE], scans, folds, seed)
    visits = read_table(sources["visits"])
    diagnosis = make_target(DIAGNOSIS, {"kind": BINARY, "classes": list(classes)})
    asked = dict.fromkeys([LDAE, *cfg["scanner"]["systems"]])  # the page judges the LDAE's
    compared = [name for name in asked if name in data.features]
    part = ProbeData(scans, {name: data.features[name] for name in compared})
    rows += scanner_rows(part, labels, visits, diagnosis, cfg, seed)
    rows += confounding_of_sites(scans, labels, visits, diagnosis, cfg, seed)
    whole = dict.fromkeys(("n_scans", "n_subjects"), "Int64")
    write_table(pd.DataFrame(rows, columns=COLUMNS).astype(whole), table)
