"""Fairness: every target's headline score by group of people, and the gap to all others.

The probes are those of the target's own job; nothing is fitted here. A group may score worse
because it is harder (mild cases, few ages), not because of the model: the table finds gaps and does
not explain them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Draws, Statistic, holm
from ldae.evaluation.metrics.classification import on_rows
from ldae.evaluation.probes.external import read_own
from ldae.evaluation.probes.labels import as_words
from ldae.evaluation.probes.statistics import positives, statistics
from ldae.evaluation.probes.target_table import (
    BINARY,
    MULTICLASS,
    REGULARISED,
    SURVIVAL,
    Target,
    target_table,
)
from ldae.evaluation.probes.targets import AGE_SEX, BASELINE
from ldae.evaluation.scanner.groups import Groups, column_of, large_groups
from ldae.files import read_table, write_table

TABLE = [
    "target", "label", "kind", "system", "column", "group", "reference", "metric", "value",
    "ci_low", "ci_high", "difference", "difference_low", "difference_high", "p", "p_holm",
    "n_scans", "n_subjects", "n_positive", "n_unknown", "note",
]  # fmt: skip
OTHERS = "all others"


def evaluate_fairness(
    predictions: Mapping[str, str | Path],
    scans: str | Path,
    acquisitions: str | Path,
    splits: str | Path,
    out: str | Path,
    cfg: Mapping[str, Any],
    seed: int,
) -> None:
    """Write the headline score of every target by group.

    Args:
        predictions: Target to its ``predictions_NAME.tsv``.
        scans, acquisitions: scans.tsv and acquisitions.tsv.
        splits: Split of every subject (splits.tsv): terciles are those of training people.
        out: TSV to write, columns :data:`TABLE`: the value of a group, and its difference from
            that of the other group, or of all other groups; ``p_holm`` is corrected for the number
            of differences of a system.
        cfg: Keys ``fairness``, ``targets``, ``probes`` and ``bootstrap`` of section ``evaluation``.
        seed: Seed of the resamples.

    Raises:
        UserError: a column does not exist.
    """
    settings, least = cfg["fairness"], cfg["probes"]["min_subjects"]
    visits = read_table(scans)
    split = read_table(splits, ("participant_id", "split"))
    table = visits[["scan_id", "participant_id"]].merge(split, on="participant_id", how="left")
    groups = {
        name: large_groups(
            name, column_of(name, table, read_table(acquisitions), visits), table, 1, [["test"]]
        )
        for name in settings["columns"]
    }
    rows: list[dict] = []
    for name, target in target_table(cfg["targets"]).items():
        own = read_own(target, predictions[name])
        for system in settings["systems"]:
            # Where the target is age or sex, the baseline of both has the name of what is left.
            named = [system, *(BASELINE if system == AGE_SEX else ())]
            frame = own[own["system"].isin(named) & (own["probe"] == REGULARISED)]
            frame = frame.sort_values("scan_id", ignore_index=True)
            for found in groups.values():
                member = pd.Series(found.value, table["scan_id"])
                rows += fairness_rows(
                    target, system, frame, found, member, cfg["bootstrap"], seed, least
                )
    made = pd.DataFrame(rows, columns=TABLE)
    made["p_holm"] = made.groupby("system")["p"].transform(holm)
    whole = [name for name in TABLE if name.startswith("n_")]
    write_table(made.astype(dict.fromkeys(whole, "Int64")), out)


def fairness_rows(
    target: Target,
    system: str,
    frame: pd.DataFrame,
    groups: Groups,
    member: pd.Series,
    resamples: int,
    seed: int,
    least: int,
) -> list[dict]:
    """Rows of one target, system and column; one with a note where groups cannot be compared.

    Args:
        target, system: What was predicted, by which system.
        frame: Its predictions.
        groups: Of the column.
        member: scan_id to the name of its group, or None.
        resamples, seed: Of the bootstrap.
        least: Fewest people of a group, of each class of a binary target.
    """
    about = {"target": target.name, "label": target.label, "kind": target.kind, "system": system}
    about |= {"column": groups.column, "metric": target.headline}
    note = "no predictions: see the target's table" if frame.empty else groups.note
    if note:
        return [about | {"note": note}]
    classes = classes_of(target, frame)
    mine = np.array([member[scan] for scan in frame["scan_id"]], dtype=object)
    about["n_unknown"] = sum(one is None for one in mine)
    present = [one for one in groups.names if (mine == one).any()]
    if len(present) < 2:
        return [
            about | {"note": f"{'one group' if present else 'no test scan'} with a known value"}
        ]
    bootstrap = ClusterBootstrap(frame["participant_id"], resamples, seed)
    drawn: dict[str, Draws] = {}
    rows = []
    for one in present:
        inside = mine == one
        part = frame[inside]
        row = about | {"group": one} | _size(target, part, classes)
        why = _too_few(target, part, classes, least)
        if why:
            rows.append(row | {"note": why})
            continue
        drawn[one] = bootstrap.draws(_within(target, frame, classes, inside))
        row |= drawn[one].interval().row("value")
        others = np.array([name is not None for name in mine]) & ~inside
        if len(present) == 2:
            rows.append(row)
            continue
        rest = bootstrap.draws(_within(target, frame, classes, others))
        rows.append(row | {"reference": OTHERS} | _difference(drawn[one] - rest))
    if len(present) == 2 and len(drawn) == 2:
        first, second = present
        rows[0] |= {"reference": second} | _difference(drawn[first] - drawn[second])
    return rows


def _difference(gap: Draws) -> dict[str, float]:
    found = gap.interval()
    row = {"difference": found.estimate, "difference_low": found.low, "difference_high": found.high}
    return row | {"p": gap.two_sided_p()}


def _within(target: Target, frame: pd.DataFrame, classes: tuple, inside: np.ndarray) -> Statistic:
    """The headline score of the scans of a mask, for weights of all scans."""
    scores = statistics(target, frame[inside].reset_index(drop=True), classes)
    return on_rows(inside, scores[target.headline])


def classes_of(target: Target, frame: pd.DataFrame) -> tuple:
    """Classes of a target: those of the configuration, or those of its predictions."""
    if target.classes:
        return tuple(as_words(pd.Series(target.classes, dtype=object)))
    if target.kind == MULTICLASS:
        return tuple(sorted(set(frame[target.truth]) | set(frame["predicted"])))
    return target.outcomes


def _size(target: Target, part: pd.DataFrame, classes: tuple) -> dict[str, Any]:
    positive = positives(target, part, classes)
    return {
        "n_scans": len(part),
        "n_subjects": part["participant_id"].nunique(),
        "n_positive": None if positive is None else int(positive.sum()),
    }


def _too_few(target: Target, part: pd.DataFrame, classes: tuple, least: int) -> str | None:
    """A note if a group has fewer people than ``least``, of any class of the target; else None."""
    people = part["participant_id"]
    named = {"people": people.nunique()}
    positive = positives(target, part, classes)
    if target.kind == BINARY:
        named = {
            str(classes[1]): people[positive].nunique(),
            str(classes[0]): people[~positive].nunique(),
        }
    elif target.kind == SURVIVAL:
        named = {"people with an event": people[positive].nunique()}
    elif target.kind == MULTICLASS:
        truth = part[target.truth].to_numpy()
        named = {str(one): people[truth == one].nunique() for one in classes}
    few = [f"{count} {name}" for name, count in named.items() if count < least]
    return f"too few subjects: {', '.join(few)}; {least} are needed" if few else None
