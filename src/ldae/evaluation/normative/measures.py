"""Measures that the normative view shows, with their labels, units and decimals."""

from typing import NamedTuple

LOGIT, PREDICTED_AGE = "logit", "predicted_age"


class Measure(NamedTuple):
    """A measure of a scan.

    Attributes:
        label: In tables, figures and sentences.
        unit: Empty where it has none.
        digits: Decimals of its values.
    """

    label: str
    unit: str
    digits: int


# The columns of the table of tissue volumes (ldae.evaluation.metrics.volumes), then what the linear
# probes read from y_sem: the diagnosis' logit, which is the place along the direction from the
# negative to the positive class, and the age.
MEASURES = {
    "csf_ml": Measure("Fluid", "ml", 0),
    "grey_ml": Measure("Grey matter", "ml", 0),
    "white_ml": Measure("White matter", "ml", 0),
    "brain_ml": Measure("Brain with fluid", "ml", 0),
    "ventricle_ml": Measure("Ventricles", "ml", 1),
    "hippocampus_ml": Measure("Hippocampi", "ml", 2),
    LOGIT: Measure("Diagnosis logit", "", 2),
    PREDICTED_AGE: Measure("Predicted age", "years", 1),
}
VOLUMES = tuple(name for name in MEASURES if name.endswith("_ml"))
