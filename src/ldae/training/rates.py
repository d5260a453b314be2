"""The learning rate over a training, as a share of the configured one.

A function of the step alone, so that a resumed training goes on as if it had not stopped.
"""

import math
from collections.abc import Callable

from ldae.errors import require

Rate = Callable[[int], float]
DECAYS = ("none", "cosine")
WARM_UP = 0.02  # share of the steps


def constant(step: int) -> float:
    """The paper's: no change."""
    return 1.0


def decay(name: str, total: int, stage: str) -> Rate:
    """The share of the learning rate by step.

    Args:
        name: ``none``, or ``cosine``: half a cosine from one to zero over the training, after a
            straight rise over its first 2 % of steps.
        total: Steps of the training.
        stage: For messages.

    Raises:
        UserError: an unknown name.
    """
    require(name in DECAYS, f"{stage}.decay is {name!r}; allowed are {', '.join(DECAYS)}.")
    if name == "none":
        return constant
    rise = max(1.0, WARM_UP * total)

    def cosine(step: int) -> float:
        return min(1.0, (step + 1) / rise) * (0.5 + 0.5 * math.cos(math.pi * step / total))

    return cosine
