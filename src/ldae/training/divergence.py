"""Divergence detector: stops a diverging training before its last good checkpoint is overwritten.

A training diverges if its loss exceeds :data:`FACTOR` times its running median for
:data:`PATIENCE` steps in a row, or if a loss or gradient is not finite.
"""

import math
from collections import deque
from collections.abc import Callable
from statistics import median

from ldae.config import section_name
from ldae.errors import UserError

WINDOW = 200  # steps of the running median
WARM_UP = 50  # steps before the loss is compared with the median
FACTOR = 10.0  # a loss above so many times the median is high
PATIENCE = 20  # steps in a row with a high loss
MAX_SKIPPED = 20  # steps in a row without a finite gradient, in fp16


class Diverged(UserError):
    """The training has diverged; repeated unchanged it would diverge again."""


class DivergenceDetector:
    """Checks losses and gradient norms of every step.

    Args:
        stage: Name of the stage, for messages.
        precision: Precision of the training. In fp16 a gradient may overflow: the step is then
            skipped and the loss scaled by less, up to :data:`MAX_SKIPPED` steps in a row.
    """

    def __init__(self, stage: str, precision: str):
        self.stage, self.scaled = stage, precision == "fp16"
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.high = self.skipped = 0

    @property
    def suspicious(self) -> bool:
        """Whether the loss of the last step was high: a regular checkpoint has to wait."""
        return self.high > 0

    @property
    def rising(self) -> bool:
        """Whether the loss was high for several steps: no checkpoint, even when interrupted."""
        return self.high > 1

    def check(
        self,
        step: int,
        losses: dict[str, float],
        norms: dict[str, float],
        kept: Callable[[], str],
    ) -> None:
        """Check a step before the optimizers take it.

        Args:
            step: Number of the step, from 1.
            losses: Means over the effective batch, by name; only ``loss`` is compared with its
                median.
            norms: Gradient norms by optimizer.
            kept: Returns the last good checkpoint, in words for the message.

        Raises:
            Diverged: a loss or gradient norm is not finite, or the loss diverges.
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
        if not self.high:  # else a long rise would lift the median
            self.losses.append(loss)

    def stop(self, what: str, kept: Callable[[], str]) -> None:
        """Raise :class:`Diverged`, with advice and the last good checkpoint (``kept``)."""
        section = section_name(self.stage)
        raise Diverged(
            f"{what} Last good state: {kept()}. Set {section}.precision: fp32 and run again to "
            f"continue from it, or lower {section}.learning_rate or {section}.grad_clip and "
            "train anew."
        )

    def state_dict(self) -> dict[str, list[float] | int]:
        """Recent losses and counts of high and skipped steps, for a resumed training."""
        return {"losses": list(self.losses), "high": self.high, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, list[float] | int]) -> None:
        """Continue from :meth:`state_dict`."""
        self.losses.extend(state["losses"])
        self.high, self.skipped = state["high"], state["skipped"]
