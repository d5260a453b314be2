"""What a volume looks like, in so few numbers that it may be kept, and whether two look the same.

Bits differ after another build of a library or on another processor, which is nothing to a model.
Another preprocessing is something. The means of 4 x 4 x 4 blocks tell the two apart: on scans of
the synthetic download at 5 mm, noise of 1 % of the range moves them by
0.05 of 255 steps on average, a shift by 0.2 mm by 0.7, by 1 mm by 1.4, left and right exchanged by
8, and two visits of one subject lie 1.6 and more apart.
"""

import base64

import numpy as np
import pandas as pd

from ldae.data.volume_transform import from_stored

THUMBNAIL = "look"  # the column of a store's index
BLOCKS = 4  # a side
STEPS = 255  # of a block's mean, for intensities of 0 to 1
SAME = 1.0  # mean difference of two looks, in steps, up to which they are the same


def thumbnail(array: np.ndarray) -> str:
    """The means of a volume's blocks, a byte each, as text.

    Args:
        array: A volume (1, X, Y, Z) as it is stored.
    """
    means = from_stored(array)[0].double().numpy()
    for axis, size in enumerate(means.shape):
        starts = np.arange(BLOCKS) * size // BLOCKS
        sizes = np.maximum(np.diff(np.append(starts, size)), 1)
        shape = [-1 if axis == other else 1 for other in range(means.ndim)]
        means = np.add.reduceat(means, starts, axis=axis) / sizes.reshape(shape)
    steps = np.rint(means.clip(0, 1) * STEPS).astype(np.uint8)
    return base64.b64encode(steps.tobytes()).decode()


def thumbnail_distance(one: str, other: str) -> float:
    """Mean difference of two looks, in steps of 1/255 of the range of intensities."""
    first, second = (
        np.frombuffer(base64.b64decode(text), np.uint8).astype(float) for text in (one, other)
    )
    return float(np.abs(first - second).mean())


def changed_scans(then: pd.DataFrame, now: pd.DataFrame) -> tuple[int, list[str]]:
    """Scans that look otherwise than they did.

    Args:
        then, now: scan_id and look; only scans of both are compared.

    Returns:
        How many were compared, and those that differ by more than ``SAME``.
    """
    both = then[["scan_id", THUMBNAIL]].merge(now[["scan_id", THUMBNAIL]], on="scan_id")
    pairs = zip(both["scan_id"], both[f"{THUMBNAIL}_x"], both[f"{THUMBNAIL}_y"], strict=True)
    return len(both), [
        scan for scan, old, new in pairs if old != new and thumbnail_distance(old, new) > SAME
    ]
