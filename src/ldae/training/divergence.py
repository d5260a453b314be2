"""Stopping a training that has gone wrong, before it overwrites its last good checkpoint."""

import math
from collections import deque
from collections.abc import Callable
from statistics import median

from ldae.errors import UserError

WINDOW = 200  # steps whose median a loss is compared with
WARM_UP = 50  # steps before anything is compared
FACTOR = 10.0
PATIENCE = 20  # steps in a row
MAX_SKIPPED = 20  # steps in a row without a finite gradient, in fp16


class Diverged(UserError):
    """The training has gone wrong; the same one would do so again."""


class DivergenceDetector:
    """Looks at every step's values.

    Args:
        stage: For messages.
        precision: In fp16 a gradient that overflows is no fault: the step is left out and the
            loss is scaled by less from then on.
    """

    def __init__(self, stage: str, precision: str):
        self.stage, self.scaled = stage, precision == "fp16"
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.high = self.skipped = 0

    @property
    def suspicious(self) -> bool:
        """Whether the present weights may be spoilt, so that a checkpoint had better wait."""
        return self.high > 0

    @property
    def rising(self) -> bool:
        """Whether the loss is high for more than a step: no checkpoint, even of the last moment."""
        return self.high > 1

    def check(
        self, step: int, losses: dict[str, float], norms: dict[str, float], kept: str
    ) -> None:
        """Judge a step before the optimizers take it.

        Args:
            step: Its number, from 1.
            losses: Means over the effective batch; ``loss`` is the one compared.
            norms: Gradient norms by optimizer.
            kept: Tells the last good checkpoint, in words.

        Raises:
            Diverged: something is not finite, or the loss diverges.
        """
        gradients = [f"{name} gradient" for name, norm in norms.items() if not math.isfinite(norm)]
        self.skipped = self.skipped + 1 if self.scaled and gradients else 0
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if not self.scaled or self.skipped > MAX_SKIPPED:
            bad += gradients
        if bad:
            self.stop(f"At step {step} of {self.stage} not finite: {', '.join(bad)}.", kept)
        loss = losses["loss"]
        usual = median(self.losses) if len(self.losses) >= WARM_UP else math.inf
        self.high = self.high + 1 if loss > FACTOR * usual else 0
        if self.high >= PATIENCE:
            self.stop(
                f"The loss of {self.stage} diverges: at step {step} it is {loss:.4g}, for "
                f"{PATIENCE} steps more than {FACTOR:g} times its median of {usual:.4g}.",
                kept,
            )
        if not self.high:  # else a long rise would lift the median that it is compared with
            self.losses.append(loss)

    def stop(self, what: str, kept: Callable[[], str]) -> None:
        """Raise :class:`Diverged` with advice."""
        raise Diverged(
            f"{what} Last good state: {kept()}. Set {self.stage}.precision: fp32 and run again to "
            f"continue from it, or lower {self.stage}.learning_rate or {self.stage}.grad_clip and "
            "train anew."
        )

    def state_dict(self) -> dict[str, list[float] | int]:
        """What a resumed training needs to judge alike."""
        return {"losses": list(self.losses), "high": self.high, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, list[float] | int]) -> None:
        """Continue from :meth:`state_dict`."""
        self.losses.extend(state["losses"])
        self.high, self.skipped = state["high"], state["skipped"]
