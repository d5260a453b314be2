"""Strength of a manipulation, whether the models have seen such codes, and what came of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ldae.application.training_codes import TrainingCodes
from ldae.errors import require

if TYPE_CHECKING:
    from ldae.application.bundle import Bundle
    from ldae.evaluation.probes.direction import Direction

FAR = 1.0  # widths of the training range beyond its ends, from where a manipulation is refused
ARRIVED = 0.5  # least fraction of the change asked for that the decoded volume must show


@dataclass(frozen=True)
class Strength:
    """Strength of a manipulation: alpha, or standard deviations of the training codes.

    Attributes:
        value: The number.
        in_sd: Whether it counts standard deviations of the diagnosis logit over training codes.
    """

    value: float
    in_sd: bool = False

    def alpha(self, direction: "Direction", bundle: "Bundle") -> float:
        """The strength as alpha, in the unit of the bundle's mode."""
        if not self.in_sd:
            return self.value
        step = direction.step(bundle.settings["mode"])
        logit_of_1 = float((step / direction.std) @ direction.w)
        return self.value * bundle.training.logit_sd / logit_of_1


@dataclass(frozen=True)
class Manipulated:
    """A change of the diagnosis logit along the classifier's direction.

    Attributes:
        training: Distribution of the training scans' codes.
        alpha: Strength, in the unit of the configuration's mode.
        before, asked: Logit of the scan's code, and of the moved code.
    """

    training: TrainingCodes
    alpha: float
    before: float
    asked: float

    @property
    def standard_deviations(self) -> float:
        """The change in standard deviations of the training codes along the direction."""
        return (self.asked - self.before) / self.training.logit_sd

    def require_seen(self, force: bool) -> None:
        """Refuse a code far outside the training range.

        Raises:
            UserError: it lies more than :data:`FAR` widths of the range outside it.
        """
        require(
            force or self.training.beyond(self.asked) <= FAR,
            f"A strength of {self.alpha:.3g} (alpha) moves the code by "
            f"{self.standard_deviations:+.1f} standard deviations of the training codes, to a "
            f"logit of {self.asked:.3g}; training codes lie between "
            f"{self.training.logit_range[0]:.3g} and {self.training.logit_range[1]:.3g}. The "
            "decoder has seen nothing like it: take a smaller strength, or give --force.",
        )

    def report(self, measured: float) -> dict[str, Any]:
        """What was asked for and what came.

        Args:
            measured: Logit of the decoded volume, encoded again.

        Returns:
            alpha, alpha_sd (:attr:`standard_deviations`), logit_before, logit_asked,
            logit_measured, and warnings, a list of sentences.
        """
        change, came = self.asked - self.before, measured - self.before
        warnings = []
        if self.training.beyond(self.asked) > 0:
            warnings.append(
                f"The moved code lies outside the training scans' (logit {self.asked:.3g}; they "
                f"have {self.training.logit_range[0]:.3g} to {self.training.logit_range[1]:.3g})."
            )
        if abs(change) > 0 and came / change < ARRIVED:
            warnings.append(
                f"The change did not arrive: the logit should change by {change:+.2f}, and the "
                f"decoded volume, encoded again, shows {came:+.2f}."
            )
        return {
            "alpha": float(f"{self.alpha:.4g}"),
            "alpha_sd": round(self.standard_deviations, 2),
            "logit_before": round(self.before, 4),
            "logit_asked": round(self.asked, 4),
            "logit_measured": round(measured, 4),
            "warnings": warnings,
        }
