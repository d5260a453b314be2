"""Other splits of the same codes beside the frozen one: k-fold, sites, numbers of people.

Nothing is trained but the probes. The LDAE has seen the images (not the labels) of the subjects of
the frozen training split, so these rows stand beside those of the frozen split, not in their place.
Scores are means over folds or sites, weighted by their scans: predictions of two models are not
compared with each other. Intervals are of the subjects who are predicted, as for the frozen split;
they do not hold the variation of the training sets.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Draws, Statistic
from ldae.evaluation.metrics.classification import macro, over_parts
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData
from ldae.evaluation.probes.labels import Labels
from ldae.evaluation.probes.paper import subject_split
from ldae.evaluation.probes.statistics import DISCRIMINATION, discrimination, statistics
from ldae.evaluation.probes.summary import absent_summary, sizes, summary_rows
from ldae.evaluation.probes.target_table import BINARY, MULTICLASS, SURVIVAL, Target
from ldae.evaluation.probes.targets import (
    AGE_SEX,
    BASELINE,
    fit,
    predict,
    truth_columns,
    without_target,
)
from ldae.seeds import derive_seed

LEAST = 2  # subjects of a class that a training set needs
Split = tuple[np.ndarray, np.ndarray]  # masks (N,) of the training scans and of the predicted ones


@dataclass(frozen=True)
class Splits:
    """Splits that make one row a system.

    Attributes:
        name: In the column ``split``.
        repeats: Of each repeat its splits, whose predicted scans do not overlap.
        note: Why there are none, or what was left out; empty: nothing.
    """

    name: str
    repeats: Sequence[Sequence[Split]]
    note: str = ""


def split_rows(
    target: Target, data: ProbeData, labels: Labels, cfg: Mapping[str, Any], seed: int
) -> list[dict]:
    """Rows of a target's summary for all splits that the configuration asks for.

    Args:
        target: What to predict.
        data: Scans with a label.
        labels: Their labels.
        cfg: Keys ``target_splits``, ``probes`` and ``bootstrap`` of section ``evaluation``.
        seed: Seed of folds, draws and resamples.
    """
    wanted = cfg["target_splits"]
    data = without_target(data, target)
    asked = set(wanted["systems"])
    if AGE_SEX in asked:  # called by what is left of it, for a target that is age or sex
        asked |= set(BASELINE)
    systems = {name: x for name, x in data.features.items() if name in asked}
    rows = []
    for splits in asked_splits(target, data.table, labels, wanted, seed):
        if not splits.repeats:
            rows += absent_summary(target, data.table[:0], splits.note, splits.name)["summary"]
            continue
        for system, x in systems.items():
            rows += _rows(target, data.table, labels, splits, system, x, cfg, seed)
    return rows


def asked_splits(
    target: Target, table: pd.DataFrame, labels: Labels, wanted: Mapping[str, Any], seed: int
) -> Iterator[Splits]:
    """The splits that ``evaluation.target_splits`` asks for and the scans allow.

    Args:
        target: What to predict.
        table: Scans with a label: participant_id, split.
        labels: Their labels.
        wanted: Section ``evaluation.target_splits``: repeats, folds, site, people.
        seed: Seed of folds and draws.
    """
    strata = _strata(target, labels)
    if wanted["repeats"]:
        yield _folds(table, strata, wanted["folds"], wanted["repeats"], seed)
        if wanted["site"]:
            yield from _sites(table, strata, wanted["site"])
        training = table.loc[table["split"].isin(TRAINING), "participant_id"].nunique()
        for people in (number for number in wanted["people"] if number < training):
            yield _people(table, strata, people, wanted["repeats"], seed)


def _strata(target: Target, labels: Labels) -> np.ndarray:
    """Class (K,) of each scan that every training set needs; one for all where there is none."""
    if target.kind in (BINARY, MULTICLASS, SURVIVAL):
        return labels.in_words().astype(str)
    return np.full(len(labels.values), "all")


def _is_enough(groups: np.ndarray, strata: np.ndarray, training: np.ndarray) -> bool:
    """Whether a training set (mask) has subjects enough of every class."""
    return all(len(set(groups[training & (strata == one)])) >= LEAST for one in np.unique(strata))


def _folds(table: pd.DataFrame, strata: np.ndarray, folds: int, repeats: int, seed: int) -> Splits:
    groups = table["participant_id"].to_numpy()
    name = f"{folds}-fold" + (f", {repeats} times" if repeats > 1 else "")
    fewest = min(len(set(groups[strata == one])) for one in np.unique(strata))
    if fewest < folds:
        return Splits(name, (), f"the smallest class has {fewest} subjects, fewer than folds")
    made = []
    for repeat in range(repeats):
        draw = derive_seed(seed, "folds", repeat) % 2**32
        kind = GroupKFold if len(np.unique(strata)) == 1 else StratifiedGroupKFold
        found = kind(folds, shuffle=True, random_state=draw).split(strata, strata, groups)
        made.append([_masks(len(table), training, rest) for training, rest in found])
    if not all(_is_enough(groups, strata, training) for one in made for training, _ in one):
        return Splits(name, (), "a fold would train without a class")
    return Splits(name, made)


def _masks(count: int, training: np.ndarray, rest: np.ndarray) -> Split:
    masks = np.zeros((2, count), bool)
    masks[0, training], masks[1, rest] = True, True
    return masks[0], masks[1]


def _sites(table: pd.DataFrame, strata: np.ndarray, pattern: str) -> Iterator[Splits]:
    """Each site left out once; nothing if the subjects' names tell fewer than two sites."""
    groups = table["participant_id"].to_numpy()
    site = table["participant_id"].str.extract(pattern, expand=False).to_numpy()
    names = sorted({one for one in site if isinstance(one, str)})
    if len(names) < 2:
        return
    # People of other cohorts, whose names tell no site, are trained on and not predicted.
    splits = [(site != one, site == one) for one in names]
    kept = [split for split in splits if _is_enough(groups, strata, split[0])]
    lost = len(splits) - len(kept)
    if not kept:
        yield Splits("leave one site out", (), "without any one site a class has too few subjects")
        return
    note = f"{lost} site(s) left out: without them a class has too few subjects" if lost else ""
    yield Splits("leave one site out", [kept], note)


def _people(
    table: pd.DataFrame, strata: np.ndarray, people: int, repeats: int, seed: int
) -> Splits:
    """So many training subjects, drawn within each class, and the frozen test subjects."""
    groups = table["participant_id"].to_numpy()
    training = table["split"].isin(TRAINING).to_numpy()
    test = (table["split"] == TEST).to_numpy()
    name, there = f"{people} training people", len(set(groups[training]))
    made = []
    for repeat in range(repeats):
        draw = derive_seed(seed, "people", people, repeat)
        chosen = np.zeros(len(table), bool)
        chosen[training] = subject_split(groups[training], strata[training], people / there, draw)
        made.append([(chosen, test)])
    if not all(_is_enough(groups, strata, chosen) for ((chosen, _),) in made):
        return Splits(name, (), "a class would have too few subjects")
    return Splits(name, made)


def _rows(
    target: Target,
    table: pd.DataFrame,
    labels: Labels,
    splits: Splits,
    system: str,
    x: np.ndarray,
    cfg: Mapping[str, Any],
    seed: int,
) -> list[dict]:
    """Rows of one system: scores of each repeat's predictions, averaged over repeats."""
    groups = table["participant_id"].to_numpy()
    frames, people = [], []
    for repeat in splits.repeats:
        parts = []
        for training, rest in repeat:
            mine = (x[training], labels.values[training], groups[training])
            model = fit(target, *mine, cfg["probes"], seed)
            columns = truth_columns(target, labels.values[rest], labels.classes)
            columns |= predict(target, model, x[rest], labels.classes)
            shown = table.loc[rest, ["scan_id", "participant_id", "diagnosis"]]
            parts.append(shown.assign(**columns, corrected=np.nan))
            people.append(len(set(groups[training])))
        frames.append(pd.concat(parts, keys=range(len(parts)), names=["part", None]))
    frames = [one.reset_index("part").sort_values("scan_id", ignore_index=True) for one in frames]
    bootstrap = ClusterBootstrap(frames[0]["participant_id"], cfg["bootstrap"], seed)

    def drawn(score: Callable[[pd.DataFrame], Statistic]) -> Draws:
        return bootstrap.draws(macro([_over_folds(one, score) for one in frames]))

    shown = drawn(lambda frame: discrimination(target, frame, labels.classes))
    headline = None
    if target.headline != DISCRIMINATION[target.kind][0]:
        headline = drawn(lambda one: statistics(target, one, labels.classes)[target.headline])
    about = {"n_training": round(float(np.mean(people))), "note": splits.note or None}
    about |= sizes(target, frames[0], labels.classes)
    return [row | about for row in summary_rows(target, splits.name, system, shown, headline)]


def _over_folds(frame: pd.DataFrame, score: Callable[[pd.DataFrame], Statistic]) -> Statistic:
    """Mean over the folds of one repeat, in the order of ``frame``."""
    folds = [rows.to_numpy() for rows in frame.groupby("part").groups.values()]
    return over_parts([(rows, score(frame.iloc[rows])) for rows in folds])
