"""Choice of a correction on validation people: the simplest that is as good as the best.

"As good" is within one standard error of the best one's gain over the uncorrected average (Breiman
et al. 1984): with few people, or with codes that hold mostly noise, nothing is corrected.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ldae.evaluation.correction import NONE, Averages, Correction, corrected_images
from ldae.evaluation.longitudinal import Visits

log = logging.getLogger(__name__)

AUTO = "auto"
METRIC = "ssim"  # to the scan
# What is tried (docs/ablation.md). Moves along the population's line are small beside the codes'
# spread, and the decoder follows a move at a fixed z_t in part, so that strengths above 1 are among
# them. A missing visit is nearer to its average: a long way up and down costs more than it gives.
STRENGTHS = {"extrapolation": (1.0, 2.0, 4.0), "interpolation": (0.5, 1.0)}
OWN_LINES = {"extrapolation": (0.0, 0.25), "interpolation": (0.0,)}
FROM = {"extrapolation": (0.6, 1.0), "interpolation": (0.2, 0.3)}  # t_0, of the last step
COLUMNS = (*Correction._fields, "value", "difference", "standard_error", "n_subjects", "chosen")


def candidates(study: str, settings: Mapping[str, Any], last: int) -> list[Correction]:
    """Corrections to choose among, the simplest first.

    Args:
        study: ``extrapolation`` or ``interpolation``, which has no own line.
        settings: ``evaluation.interpolation.correction``: ``auto`` or a number for each of
            ``strength``, ``own_line`` and ``from_step``. Of strength 0 is only an ``auto``, or that
            number itself.
        last: Last step of the diffusion, which a ``from_step`` beyond it stands for.
    """

    def tried(key: str, auto: Sequence[float]) -> Sequence[float]:
        return auto if settings[key] == AUTO else (settings[key],)

    strengths = tried("strength", (NONE.strength, *STRENGTHS[study]))
    own = tried("own_line", OWN_LINES[study]) if study == "extrapolation" else (NONE.own_line,)
    from_step = tried("from_step", [round(part * last) for part in FROM[study]])
    found = [
        Correction(float(strength), float(share), min(int(step), last))
        for strength, share, step in product(strengths, own, from_step)
        if strength > 0
    ]
    return ([NONE] if 0 in strengths else []) + sorted(found)


def simplest_of_the_best(scores: np.ndarray, uncorrected: np.ndarray) -> int:
    """Position of the first candidate within one standard error of the best.

    Args:
        scores: (C, N) of C candidates, the simplest first, for N people; higher is better.
        uncorrected: (N,) of the average as it is. One person gives no standard error, and with
            it no reason for a correction.
    """
    gains = scores - uncorrected
    means = gains.mean(axis=1)
    best = int(means.argmax())
    error = gains[best].std(ddof=1) / np.sqrt(gains.shape[1]) if gains.shape[1] > 1 else np.inf
    return int(np.flatnonzero(means >= means[best] - error)[0])


def choose(
    study: str,
    visits: Visits | None,
    averages: Sequence[Averages],
    settings: Mapping[str, Any],
    last: int,
) -> tuple[Correction, pd.DataFrame]:
    """Choose a correction by SSIM to the scans of validation people.

    Args:
        study, settings, last: As in :func:`candidates`.
        visits: Visits of validation people; None: none has enough of them, and nothing is
            corrected unless the settings say so.
        averages: One prediction of every person, in batches.

    Returns:
        The correction, and a table of all candidates: study, strength, own_line, from_step, value
        (mean SSIM), difference (from the uncorrected average), standard_error (of the difference),
        n_subjects, chosen.
    """
    tried = candidates(study, settings, last)
    count = sum(len(part.targets) for part in averages)
    table = pd.DataFrame(tried, columns=list(Correction._fields))
    if len(tried) == 1 or visits is None or not count:
        if len(tried) > 1:
            log.warning(
                "%s: no validation participant has three visits, so the correction is the simplest "
                "of those allowed: %s",
                study,
                described(tried[0]),
            )
        table = table.assign(value=np.nan, difference=np.nan, standard_error=np.nan, n_subjects=0)
        return tried[0], _finished(study, table, 0)
    with_none = tried if tried[0] == NONE else [NONE, *tried]
    scores = np.concatenate(
        [
            [
                visits.compare(part.targets, image)[METRIC]
                for image in corrected_images(visits.system, part, with_none, visits.steps)
            ]
            for part in averages
        ],
        axis=1,
    )
    uncorrected, scores = scores[0], scores[len(with_none) - len(tried) :]
    place = simplest_of_the_best(scores, uncorrected)
    gains = scores - uncorrected
    error = gains.std(axis=1, ddof=1) / np.sqrt(count) if count > 1 else np.nan
    table = table.assign(value=scores.mean(axis=1), difference=gains.mean(axis=1))
    table = table.assign(standard_error=error, n_subjects=count)
    log.info("%s: %s, chosen on %d validation people", study, described(tried[place]), count)
    return tried[place], _finished(study, table, place)


def _finished(study: str, table: pd.DataFrame, place: int) -> pd.DataFrame:
    chosen = np.arange(len(table)) == place
    return table.assign(study=study, chosen=chosen)[["study", *COLUMNS]]


def described(correction: Correction) -> str:
    """A correction in words."""
    if correction.strength == 0:
        return "the average is not corrected"
    return (
        f"the average is corrected from step {correction.from_step} with strength "
        f"{correction.strength:g}, {correction.own_line:.0%} of it along the own line"
    )
