"""The next visit predicted from the two before it, beside trivial baselines."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.diffusion.interpolation import lerp
from ldae.evaluation.longitudinal import Codes
from ldae.progress import Progress

METHODS = ("ldae", "ldae_last_noise", "last_visit", "voxel_linear", "latent_linear")


def next_visits(months: Sequence[int], first: int = 0) -> list[tuple[int, int, int]]:
    """Positions of every visit's two predecessors and of itself: (earlier, last, target).

    Args:
        months: Months of one participant's visits, ascending; of those of one month the first
            counts.
        first: Position of the first of these visits in the list of all visits.
    """
    apart = [i for i, month in enumerate(months) if i == 0 or month > months[i - 1]]
    runs = zip(apart, apart[1:], apart[2:], strict=False)
    return [(first + a, first + b, first + c) for a, b, c in runs]


def predictions(
    codes: Codes, earlier: list[int], last: list[int], alpha: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Predicted volumes (B, 1, X, Y, Z) at ``alpha`` > 1 on the line from earlier to last visit.

    ``ldae``: y_sem linear, z_T on its great circle, beyond the last visit. ``ldae_last_noise``: the
    same y_sem with the last visit's z_T. Baselines, all within the autoencoder's output space:
    ``last_visit`` (nothing changes), ``voxel_linear`` and ``latent_linear`` (of z_0).
    """
    system, move = codes.system, codes.system.compute.move
    yield "ldae", codes.between(earlier, last, alpha)
    yield "ldae_last_noise", codes.between(earlier, last, alpha, codes.z_T[last])
    yield "last_visit", move(codes.decoded[last])
    voxels = lerp(codes.decoded[earlier], codes.decoded[last], alpha)
    yield "voxel_linear", move(voxels.clamp(0, 1))
    yield "latent_linear", system.image(move(lerp(codes.z_0[earlier], codes.z_0[last], alpha)))


def extrapolate(codes: Codes, batch_size: int) -> pd.DataFrame:
    """Predict every visit that has two before it, by every method.

    Returns:
        participant_id, start, end (months of the two known visits), target, alpha (> 1), horizon
        (months from the last known visit to the target), time_gap (between the known ones), method
        and the metrics of :meth:`Codes.compare`.
    """
    every: list[tuple[int, int, int]] = []
    for _, rows in codes.visits.groupby("participant_id", sort=False):
        every += next_visits(rows["months"].tolist(), int(rows.index[0]))
    frames = []
    progress = Progress("extrapolation", len(every))
    for part in batches(len(every), batch_size):
        places = np.array(every)[part]
        earlier, last, target = places.T.tolist()
        months = codes.visits["months"].to_numpy()[places]
        known = pd.DataFrame(months, columns=["start", "end", "target"])
        known.insert(0, "participant_id", codes.visits["participant_id"].to_numpy()[target])
        known["alpha"] = (known["target"] - known["start"]) / (known["end"] - known["start"])
        known["horizon"] = known["target"] - known["end"]
        known["time_gap"] = known["end"] - known["start"]
        alpha = torch.tensor(known["alpha"].tolist(), dtype=torch.float64)
        for method, image in predictions(codes, earlier, last, alpha):
            frames.append(known.assign(method=method, **codes.compare(target, image)))
        progress.step(int(part[-1]) + 1)
    key = ["participant_id", "start", "end", "target"]
    return pd.concat(frames).sort_values(key, kind="stable", ignore_index=True)
