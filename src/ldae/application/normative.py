"""A head's measures against those of healthy people of its age and sex, for research.

The curves lie in the bundle's folder as ``normative.json``, which the rule ``normative`` writes. A
bundle without it is whole: whoever asks for percentiles is told so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ldae.errors import require
from ldae.evaluation.normative.curves import FILE, NOTICE, SEXES, NormativeCurves, age_of, sex_of
from ldae.evaluation.normative.measures import LOGIT, MEASURES, PREDICTED_AGE
from ldae.files import sha256
from ldae.labels import number, ordinal

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ldae.application.bundle import Bundle

ABSENT = (
    "These models came without normative curves, so there are no percentiles: run the target "
    "`normative` where they were made, and copy models/application as a whole."
)


@dataclass(frozen=True)
class Person:
    """Age (years) and sex (``F``, ``M``) of the person in a scan, as the user gave them."""

    age: float
    sex: str

    @classmethod
    def of(cls, age: Any, sex: Any, where: str) -> "Person | None":
        """The person of two cells or options; None if both are missing.

        Args:
            age, sex: Values, or None.
            where: Where they stand, for messages.

        Raises:
            UserError: one of them is missing, or is no age or sex.
        """
        if age is None and sex is None:
            return None
        require(
            age is not None and sex is not None,
            f"{where}: the {'age' if age is None else 'sex'} is missing. Percentiles need both "
            "age and sex; give both, or none.",
        )
        return cls(age_of(age, where), sex_of(sex, where))


def load_curves(bundle: "Bundle") -> NormativeCurves | None:
    """The bundle's curves; None where it has none.

    Raises:
        UserError: they were made for other probes than the bundle's.
    """
    path = bundle.folder / FILE
    if not path.is_file():
        return None
    curves = NormativeCurves.load(path)
    for name, expected in curves.probes.items():
        require(
            sha256(bundle.folder / name) == expected,
            f"{path} was made for another {name} than the one beside it: run the target "
            "`normative`, or copy the folder of the models as a whole.",
        )
    return curves


def head_measures(x: "Tensor", affine: "np.ndarray", logit: float, age: float) -> dict[str, float]:
    """Measures of one scan, by the keys of :data:`ldae.evaluation.normative.measures.MEASURES`.

    Args:
        x: (1, 1, X, Y, Z) in [0, 1], the preprocessed scan.
        affine: (4, 4) voxel to RAS mm.
        logit, age: What the bundle's probes read from its code.
    """
    from ldae.evaluation.metrics.volumes import Regions, soft_volumes, tissue_volumes

    x = x.cpu()
    regions = Regions.on(affine, tuple(x.shape[2:]))
    soft = {name: float(value[0]) for name, value in soft_volumes(x, x, regions).items()}
    tissues = tissue_volumes(x[0, 0].numpy(), regions.voxel_ml)
    return {**tissues, **soft, LOGIT: logit, PREDICTED_AGE: age}


def normative_findings(
    curves: NormativeCurves | None, person: Person, measures: Mapping[str, float]
) -> dict[str, Any]:
    """Entry ``normative`` of the findings of a head.

    Args:
        curves: Of the bundle; None: it has none.
        person: Age and sex.
        measures: Of :func:`head_measures`.

    Returns:
        ``age`` and ``sex`` as given, ``notice``, and ``reading``, a sentence; where there are
        percentiles also ``reference`` (diagnosis and number of people) and ``measures``: value,
        percentile (none beyond the outermost fitted centile) and deviation (z) of each.
    """
    found: dict[str, Any] = {**vars(person), "notice": NOTICE}
    if curves is None:
        return {**found, "reading": ABSENT}
    if not curves.coefficients:
        return {**found, "reading": f"There are no percentiles: {curves.note}."}
    if not curves.covers([person.age])[0]:
        low, high = curves.ages
        reading = (
            f"There are no percentiles at {person.age:g} years: the curves hold from {low:g} to "
            f"{high:g} years."
        )
        return {**found, "reading": reading}
    shown, words = {}, []
    for name in curves.coefficients:
        value = measures[name]
        z = curves.deviations(name, [value], [person.age], [person.sex])
        percent = float(curves.percentiles(z)[0])
        digits = MEASURES[name].digits
        shown[name] = {
            "value": round(value, digits + 1),
            "percentile": round(percent),
            "deviation": round(float(z[0]), 2),
        }
        amount = f"{number(value, digits)} {MEASURES[name].unit}".strip()
        words.append(f"{MEASURES[name].label} {amount}, {_place(percent, curves.centiles)}")
    subjects = curves.counts["subjects"]
    reading = (
        f"Against {subjects} {curves.reference} people of the training scans, at {person.age:g} "
        f"years and {SEXES[person.sex]}: {'; '.join(words)}."
    )
    reference = {"diagnosis": curves.reference, "subjects": subjects}
    return {**found, "reference": reference, "measures": shown, "reading": reading}


def percentile_columns(findings: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the table of many heads: the percentile of each measure, or why there is none."""
    found = findings.get("normative")
    if not found:
        return {}
    given = {"given_age": found["age"], "given_sex": found["sex"]}
    if "measures" not in found:
        return {**given, "normative": found["reading"]}
    places = {f"{name}_percentile": one["percentile"] for name, one in found["measures"].items()}
    return {**given, **places}


def _place(percent: float, centiles: tuple[float, ...]) -> str:
    """Words for a percentile: ``below the 5th percentile``, ``31st percentile``."""
    if percent <= centiles[0]:
        return f"at or below the {ordinal(centiles[0])} percentile"
    if percent >= centiles[-1]:
        return f"at or above the {ordinal(centiles[-1])} percentile"
    return f"{ordinal(round(percent))} percentile"
