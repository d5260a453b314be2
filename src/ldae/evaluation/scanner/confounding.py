"""Confounding: how far the classes of a target differ between sites, scanners and phases.

A probe of a target that differs between sites can answer by the site. Cramér's V says how strongly
the two go together, corrected for the size of the table (Bergsma, J Korean Stat Soc 2013); each
person counts once, at the first scan with both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.data.store import INDEX
from ldae.evaluation.metrics.bootstrap import holm
from ldae.evaluation.probes.evaluate import Sources, read_labels
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData
from ldae.evaluation.probes.labels import Labels
from ldae.evaluation.probes.target_table import CONTINUOUS, ORDINAL, Target, target_table
from ldae.evaluation.scanner.groups import column_of, named_groups
from ldae.files import read_table, write_table
from ldae.seeds import derive_seed

STRONG = 0.1  # Cramér's V from which an association is flagged: Cohen's small effect
ALPHA = 0.05  # of Holm's corrected p values
TABLE = [
    "target", "label", "column", "cramers_v", "chi2", "p", "p_holm", "confounded", "n_classes",
    "n_values", "n_subjects", "note",
]  # fmt: skip
COUNTS = ["target", "label", "class", "column", "value", "n_subjects", "n_scans"]


def evaluate_confounding(
    volumes: str | Path,
    visits: str | Path,
    acquisitions: str | Path,
    sources: Mapping[str, Mapping[str, Any]],
    out: Mapping[str, str | Path],
    cfg: Mapping[str, Any],
    seed: int,
) -> None:
    """Write the association of every target with every column of the scanner.

    Args:
        volumes: Folder of the volume store: scans and splits.
        visits, acquisitions: scans.tsv and acquisitions.tsv.
        sources: Target to ``table`` and ``images`` of
            :class:`ldae.evaluation.probes.evaluate.Sources`, where it has a table.
        out: TSV files to write: ``table``, columns :data:`TABLE`, p by permutation of people,
            ``confounded`` is ``yes`` from a V of :data:`STRONG` with ``p_holm`` (over all rows)
            below :data:`ALPHA`; ``counts``, columns :data:`COUNTS`.
        cfg: Keys ``scanner`` and ``targets`` of section ``evaluation``.
        seed: Seed of the permutations.

    Raises:
        UserError: a column does not exist.
    """
    scans = read_table(Path(volumes) / INDEX, ("scan_id", "participant_id", "split"))
    scans = scans[scans["split"].isin([*TRAINING, TEST])].sort_values("scan_id", ignore_index=True)
    known = read_table(visits)
    settings = cfg["scanner"]
    columns = {
        name: named_groups(name, column_of(name, scans, read_table(acquisitions), known), scans)[0]
        for name in settings["columns"]
    }
    rows: list[dict] = []
    counts: list[dict] = []
    for name, target in target_table(cfg["targets"]).items():
        found = Sources({}, "", volumes, visits, **sources.get(name, {}))
        labels = read_labels(target, ProbeData(scans, {}), found)
        classes = label_classes(target, labels, scans)
        for column, value in columns.items():
            draws = derive_seed(seed, "confounding", name, column)
            made, more = confounding_rows(scans, classes, value, settings["permutations"], draws)
            about = {"target": name, "label": target.label, "column": column}
            rows.append(about | made)
            counts += [about | one for one in more]
    table = flagged(pd.DataFrame(rows, columns=TABLE))
    whole = dict.fromkeys(("n_classes", "n_values", "n_subjects"), "Int64")
    write_table(table.astype(whole), out["table"])
    write_table(pd.DataFrame(counts, columns=COUNTS), out["counts"])


def flagged(table: pd.DataFrame) -> pd.DataFrame:
    """The table with Holm's p values over its rows, and ``yes`` where a target is confounded."""
    corrected = holm(table["p"])
    strong = (table["cramers_v"] >= STRONG) & (corrected < ALPHA)
    flag = np.where(table["p"].isna(), None, np.where(strong, "yes", "no"))
    return table.assign(p_holm=corrected, confounded=flag)


def label_classes(target: Target, labels: Labels, scans: pd.DataFrame) -> np.ndarray:
    """Class (N,) of each scan in words, None without a label; terciles of a continuous target."""
    found = np.full(len(scans), None, dtype=object)
    if target.kind == CONTINUOUS:
        values = pd.Series(np.nan, scans.index)
        values[labels.known] = labels.values
        return named_groups(target.name, values, scans)[0]
    words = labels.in_words()
    if target.kind == ORDINAL:
        words = np.array([labels.classes[int(rank)] for rank in words], dtype=object)
    found[labels.known] = [str(word) for word in words]
    return found


def confounding_rows(
    scans: pd.DataFrame, classes: np.ndarray, value: np.ndarray, permutations: int, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row of the association of classes with values, and rows of the counts.

    Args:
        scans: participant_id of the N scans, in the order of their visits.
        classes, value: (N,) in words; None where not known.
        permutations: Of the people's values.
        seed: Of the permutations.
    """
    both = np.array([a is not None and b is not None for a, b in zip(classes, value, strict=True)])
    table = pd.DataFrame({"person": scans["participant_id"], "class": classes, "value": value})[
        both
    ]
    first = table.drop_duplicates("person")
    row: dict[str, Any] = {
        "n_classes": first["class"].nunique(),
        "n_values": first["value"].nunique(),
        "n_subjects": len(first),
    }
    size = table.groupby(["class", "value"], sort=True)
    people = first.groupby(["class", "value"]).size()
    counts = [
        {"class": key[0], "value": key[1], "n_scans": len(part)}
        | {"n_subjects": int(people.get(key, 0))}
        for key, part in size
    ]
    if row["n_classes"] < 2 or row["n_values"] < 2:
        lacking = "value of the column" if row["n_values"] < 2 else "class of the target"
        number = "no" if row["n_subjects"] == 0 else "one"
        row["note"] = f"{number} {lacking} among the people with both"
        return row, counts
    one, other = (pd.factorize(first[name])[0] for name in ("class", "value"))
    association = cramers_v(one, other)
    if np.isnan(association):
        row["note"] = "too few people for so many classes and values"
        return row, counts
    found = chi_square(one, other)
    draw = np.random.default_rng(seed)
    null = np.array([chi_square(one, draw.permutation(other)) for _ in range(permutations)])
    row |= {"chi2": found, "cramers_v": association}
    row["p"] = float((1 + (null >= found * (1 - 1e-9)).sum()) / (permutations + 1))
    return row, counts


def chi_square(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's chi-square of two codings (N,) from 0, without Yates' correction."""
    a, b = int(first.max()) + 1, int(second.max()) + 1
    cells = np.bincount(first * b + second, minlength=a * b).reshape(a, b)
    expected = np.outer(cells.sum(1), cells.sum(0)) / len(first)
    return float(((cells - expected) ** 2 / expected).sum())


def cramers_v(first: np.ndarray, second: np.ndarray) -> float:
    """Cramér's V of two codings (N,) from 0, corrected for its bias: 0 none, 1 one tells all."""
    count, a, b = len(first), int(first.max()) + 1, int(second.max()) + 1
    if count < 3:
        return float("nan")
    phi = max(0.0, chi_square(first, second) / count - (a - 1) * (b - 1) / (count - 1))
    rows, columns = (k - (k - 1) ** 2 / (count - 1) for k in (a, b))
    least = min(rows, columns) - 1
    return float(np.sqrt(phi / least)) if least > 0 else float("nan")
