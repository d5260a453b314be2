"""Scores of the probes with intervals, and paired differences between systems."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Draws, Statistic, holm
from ldae.evaluation.metrics.classification import macro
from ldae.evaluation.probes.statistics import positives, statistics
from ldae.evaluation.probes.target_table import NONE, REGULARISED, Target
from ldae.evaluation.published_values import probe_value

COMPARED = "ldae"
FAMILY = ["target", "probe", "metric"]  # p values are corrected for the number of systems within it


def by_system(predictions: pd.DataFrame) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """Predictions by (probe, system), one table a seed; sorted by scan_id."""
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for (probe, system, _), part in predictions.groupby(
        ["probe", "system", "seed"], sort=False, dropna=False
    ):
        part = part.sort_values("scan_id", ignore_index=True)
        found.setdefault((probe, system), []).append(part)
    return found


def mean_over_seeds(seeds: Sequence[dict[str, Statistic]]) -> dict[str, Statistic]:
    """The mean of each score over the seeds of a probe (:func:`statistics` of each)."""
    return {name: macro([one[name] for one in seeds]) for name in seeds[0]}


@dataclass(frozen=True)
class Drawn:
    """Every score of a target's predictions on the same resamples of its test subjects.

    Attributes:
        target: What was predicted.
        classes: Its classes, as :func:`statistics` takes them.
        bootstrap: The resamples.
        frames: Predictions by (probe, system), one table a seed.
        seeds: Their scores as functions of weights, in the same order.
        scores: Draws by (probe, system) and score: the mean over the seeds.
    """

    target: Target
    classes: tuple
    bootstrap: ClusterBootstrap
    frames: dict[tuple[str, str], list[pd.DataFrame]]
    seeds: dict[tuple[str, str], list[dict[str, Statistic]]]
    scores: dict[tuple[str, str], dict[str, Draws]]

    @classmethod
    def of(
        cls, target: Target, predictions: pd.DataFrame, classes: tuple, resamples: int, seed: int
    ) -> "Drawn":
        """Draw all scores.

        Args:
            target: What was predicted.
            predictions: probe, system, seed, scan_id, participant_id and the columns that
                :func:`ldae.evaluation.probes.statistics.statistics` reads.
            classes: As for those.
            resamples: Number of resamples of the subjects.
            seed: Seed of the resamples.

        Raises:
            UserError: a system's predictions are for other scans than the LDAE's.
        """
        frames = by_system(predictions)
        first = same_scans(target, frames)
        bootstrap = ClusterBootstrap(first["participant_id"], resamples, seed)
        seeds = {
            key: [statistics(target, frame, classes) for frame in each]
            for key, each in frames.items()
        }
        scores = {
            key: {
                metric: bootstrap.draws(statistic)
                for metric, statistic in mean_over_seeds(each).items()
            }
            for key, each in seeds.items()
        }
        return cls(target, classes, bootstrap, frames, seeds, scores)

    @property
    def compared(self) -> pd.DataFrame:
        """The LDAE's predictions."""
        return self.frames[REGULARISED, COMPARED][0]


def score_table(drawn: Drawn) -> tuple[list[dict], list[dict]]:
    """Rows of the score table and of the paired differences for one target.

    The score of a probe trained with several seeds is their mean, in every resample. The interval
    is over subjects; ``seed_sd`` is the SD of the score over the seeds.
    """
    target, bootstrap = drawn.target, drawn.bootstrap
    positive = positives(target, drawn.compared, drawn.classes)
    count = np.nan if positive is None else int(positive.sum())
    unit_weights = np.ones((1, bootstrap.size))
    rows: list[dict] = []
    for (probe, system), frames in drawn.frames.items():
        seeds = drawn.seeds[probe, system]
        for metric, draws in drawn.scores[probe, system].items():
            paper, source = probe_value(target.name, metric, system)
            spread = (
                np.std([one[metric](unit_weights)[0] for one in seeds], ddof=1)
                if seeds[1:]
                else None
            )
            rows.append(
                {"target": target.name, "probe": probe, "system": system, "metric": metric}
                | draws.interval().row("value")
                | bootstrap.counts
                | {"n_positive": count, "penalty": frames[0]["penalty"].iloc[0]}
                | {"n_seeds": len(seeds), "seed_sd": spread}
                | {"paper": paper, "paper_source": source, "note": None}
            )
    return rows, _differences(drawn)


def same_scans(target: Target, found: dict[tuple[str, str], list[pd.DataFrame]]) -> pd.DataFrame:
    """The LDAE's predictions, after a check that all others are for the same scans.

    Args:
        target: What was predicted.
        found: From :func:`by_system`.

    Raises:
        UserError: a system's predictions are for other scans.
    """
    first = found[REGULARISED, COMPARED][0]
    for (_, system), frames in found.items():
        for frame in frames:
            require(
                frame["scan_id"].equals(first["scan_id"]),
                f"The predictions of {system} for {target.name} are not for the test scans of "
                f"{COMPARED}: {len(frame)} scans against {len(first)}. Delete their file, so that "
                "they are made again for the present splits.",
            )
    return first


def compared_pairs(scores: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Probe, other system and probe of the LDAE, of each comparison of the LDAE with another.

    Systems without a probe (``none``) are compared with the LDAE's regularised probe.
    """
    keys = list(scores)
    for probe, system in keys:
        own = REGULARISED if probe == NONE else probe
        if system != COMPARED and (own, COMPARED) in keys:
            yield probe, system, own


def _differences(drawn: Drawn) -> list[dict]:
    """The LDAE less each other system of the same probe."""
    rows, scores = [], drawn.scores
    for probe, system, own in compared_pairs(scores):
        for metric, draws in scores[probe, system].items():
            difference = scores[own, COMPARED][metric] - draws
            rows.append(
                {"target": drawn.target.name, "probe": own}
                | {"system": COMPARED, "reference": system, "metric": metric}
                | difference.interval().row("difference")
                | {"p": difference.two_sided_p(), "p_holm": np.nan}
                | drawn.bootstrap.counts
            )
    table = pd.DataFrame(rows)
    if rows:
        table["p_holm"] = table.groupby(FAMILY)["p"].transform(holm)
    return table.to_dict("records")


def absent_row(target: Target, test: pd.DataFrame, note: str) -> dict:
    """A row of the score table for a target that cannot be probed; ``note`` gives the reason."""
    return {
        "target": target.name,
        "probe": REGULARISED,
        "system": COMPARED,
        "metric": target.headline,
        "value": np.nan,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "n_scans": len(test),
        "n_subjects": test["participant_id"].nunique(),
        "n_positive": np.nan,
        "penalty": np.nan,
        "n_seeds": 0,
        "seed_sd": np.nan,
        "paper": np.nan,
        "paper_source": None,
        "note": note,
    }
