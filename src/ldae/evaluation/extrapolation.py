"""Extrapolation: the next visit predicted from those before it, with trivial baselines.

Lines go through the two visits just before it. Averages are of all visits before it: two scans of
one person differ more by noise than by change, so that a mean is harder to beat than the last one.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.diffusion.interpolation import lerp
from ldae.evaluation.ageing import Ageing
from ldae.evaluation.correction import METHOD, Correction, corrected_images, forecast_averages
from ldae.evaluation.longitudinal import VisitCodes, Visits
from ldae.progress import Progress

METHODS = (
    "ldae",
    "ldae_last_noise",
    METHOD,
    "last_visit",
    "mean_visits",
    "population_change",
    "voxel_linear",
    "latent_linear",
)


def next_visits(months: Sequence[int], first: int = 0) -> list[tuple[int, int, int]]:
    """Positions (earlier, last, target) of every visit that has two predecessors.

    Args:
        months: Months of one participant's visits, ascending. Of several visits in one month the
            first is used.
        first: Position of the first of these visits in the list of all visits.
    """
    distinct = [i for i, month in enumerate(months) if i == 0 or month > months[i - 1]]
    triples = zip(distinct, distinct[1:], distinct[2:], strict=False)
    return [(first + a, first + b, first + c) for a, b, c in triples]


def predictions(
    codes: VisitCodes, earlier: list[int], last: list[int], alpha: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Predict the volumes (B, 1, X, Y, Z) at ``alpha`` > 1 along lines through two visits.

    ``ldae`` extrapolates y_sem linearly and z_T on its great circle. ``ldae_last_noise`` takes the
    same y_sem with the last visit's z_T. Three baselines stay in the autoencoder's output space:
    ``last_visit`` (nothing changes), ``voxel_linear``, and ``latent_linear`` (extrapolates z_0).

    Args:
        codes: Codes of all visits.
        earlier, last: Positions of the two known visits in ``codes.visits``, B each.
        alpha: (B,) position in time; 0 is the earlier visit, 1 the last.
    """
    system, move = codes.system, codes.system.compute.move
    yield "ldae", codes.between(earlier, last, alpha)
    yield "ldae_last_noise", codes.between(earlier, last, alpha, codes.z_T[last])
    yield "last_visit", move(codes.decoded[last])
    voxels = lerp(codes.decoded[earlier], codes.decoded[last], alpha)
    yield "voxel_linear", move(voxels.clamp(0, 1))
    yield "latent_linear", system.image(move(lerp(codes.z_0[earlier], codes.z_0[last], alpha)))


def predictions_of_averages(
    codes: VisitCodes,
    known: list[list[int]],
    targets: list[int],
    ageing: Ageing,
    correction: Correction,
) -> Iterator[tuple[str, Tensor]]:
    """Predict volumes (B, 1, X, Y, Z) from the mean of all visits so far.

    ``mean_visits`` is the mean of their reconstructions. ``population_change`` adds to the mean of
    their latents what the latents of the training people change in the time from the visits' mean
    month. ``ldae_corrected`` decodes the mean of their latents with a moved code
    (:mod:`ldae.evaluation.correction`).

    Args:
        codes: Codes of all visits.
        known: Positions of the visits so far in ``codes.visits``, one list a prediction.
        targets: Positions of the visits to predict.
        ageing: Change per year of the training people.
        correction: The correction of ``ldae_corrected``.
    """
    system, move = codes.system, codes.system.compute.move
    averages = forecast_averages(codes, known, targets, ageing)
    yield METHOD, corrected_images(system, averages, [correction], codes.steps)[0]
    yield "mean_visits", move(torch.stack([codes.decoded[places].mean(0) for places in known]))
    months = torch.from_numpy(codes.visits["months"].to_numpy(float)).float()
    ahead = [
        (months[t] - months[places].mean()) / 12 for places, t in zip(known, targets, strict=True)
    ]
    aged = averages.z + torch.stack([years * ageing.z for years in ahead])
    yield "population_change", system.image(move(aged))


def visits_so_far(codes: Visits, target: int) -> list[int]:
    """Positions of a participant's visits in the months before that of visit ``target``."""
    visits = codes.visits
    same = visits["participant_id"] == visits["participant_id"].iloc[target]
    return np.flatnonzero(same & (visits["months"] < visits["months"].iloc[target])).tolist()


def extrapolate(
    codes: VisitCodes, batch_size: int, ageing: Ageing, correction: Correction
) -> pd.DataFrame:
    """Predict every visit that has two before it, by every method.

    Args:
        codes: Codes of all visits.
        batch_size: Predictions at a time.
        ageing, correction: As in :func:`predictions_of_averages`.

    Returns:
        One row per triplet and method: participant_id, start, end (months of the two known visits),
        target (months), alpha (> 1), horizon (months from the last known visit to the target),
        time_gap (months between the known ones), method and the metrics of
        :meth:`VisitCodes.compare`.
    """
    triples: list[tuple[int, int, int]] = []
    for _, rows in codes.visits.groupby("participant_id", sort=False):
        triples += next_visits(rows["months"].tolist(), int(rows.index[0]))
    frames = []
    progress = Progress("extrapolation", len(triples))
    for part in batches(len(triples), batch_size):
        positions = np.array(triples)[part]
        earlier, last, target = positions.T.tolist()
        months = codes.visits["months"].to_numpy()[positions]
        known = pd.DataFrame(months, columns=["start", "end", "target"])
        known.insert(0, "participant_id", codes.visits["participant_id"].to_numpy()[target])
        known["alpha"] = (known["target"] - known["start"]) / (known["end"] - known["start"])
        known["horizon"] = known["target"] - known["end"]
        known["time_gap"] = known["end"] - known["start"]
        alpha = torch.tensor(known["alpha"].tolist(), dtype=torch.float64)
        so_far = [visits_so_far(codes, place) for place in target]
        of_averages = predictions_of_averages(codes, so_far, target, ageing, correction)
        for method, image in chain(predictions(codes, earlier, last, alpha), of_averages):
            frames.append(known.assign(method=method, **codes.compare(target, image)))
        progress.step(int(part[-1]) + 1)
    key = ["participant_id", "start", "end", "target"]
    return pd.concat(frames).sort_values(key, kind="stable", ignore_index=True)
