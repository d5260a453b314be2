"""Table of targets: what the linear probes predict, from the section ``evaluation.targets``.

Diagnosis and age are entries like any other. Only the standard library is imported, because the
rules read this table when the workflow starts.
"""

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ldae.errors import require

REGULARISED, PAPER, NONE = "regularised", "paper", "none"  # kinds of probes; none: predicts itself
BINARY, MULTICLASS, ORDINAL = "binary", "multiclass", "ordinal"
CONTINUOUS, SURVIVAL = "continuous", "survival"
# Kind of a target -> the score that stands for it where there is room for one.
HEADLINES = {
    BINARY: "auroc",
    MULTICLASS: "balanced_accuracy",
    ORDINAL: "concordance",
    CONTINUOUS: "mae",
    SURVIVAL: "concordance",
}
DIAGNOSIS, AGE = "diagnosis", "age"  # the targets whose probes are directions of the manipulation
# In the order of Table 7; their scores are in probes.tsv.
STANDARD = (DIAGNOSIS, AGE, "groups", "conversion")
COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_COMPARISON = re.compile(r"\s*(>=|<=|>|<)\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Target:
    """A target of the probes; the fields are the keys of an entry of ``evaluation.targets``.

    Attributes:
        name: Its key in the table.
        kind: One of :data:`HEADLINES`.
        column: Column of the values; of a table of the user's or, without one, of the cohort.
        classes: Of text: the negative and the positive class, or all classes; of an ordinal
            target its levels in order. Empty: those that are found.
        positive: Of a binary target: ``"> 1.11"``, or the values that are positive.
        event: Diagnosis whose first visit is the event; then ``column`` is not read.
        among: Diagnoses at the scan's visit that are at risk of the event.
        months: Binary: the event within so many months. Survival: longest follow-up.
        time: Column of the time to the event, or to the last time known to be without it.
        table: Path of the user's table (TSV or CSV).
        study_table: Name of a study table of ADNI's download, in place of ``table``.
        subject, date: Columns of the table that join it with scans; see
            :mod:`ldae.evaluation.probes.joined_table`.
        window_days: Most days between a row's date and the scan's.
        probes: Probes to fit: :data:`REGULARISED`, :data:`PAPER`.
        label: Name in tables.
    """

    name: str
    kind: str
    column: str
    classes: tuple = ()
    positive: str | tuple | None = None
    event: str | None = None
    among: tuple[str, ...] = ()
    months: float | None = None
    time: str | None = None
    table: str | None = None
    study_table: str | None = None
    subject: str | None = None
    date: str | None = None
    window_days: float | None = None
    probes: tuple[str, ...] = (REGULARISED,)
    label: str = ""

    @property
    def headline(self) -> str:
        """Key of the score that stands for the target."""
        return HEADLINES[self.kind]

    @property
    def joined(self) -> bool:
        """Whether the values come from another table than the cohort's."""
        return bool(self.table or self.study_table)

    @property
    def columns(self) -> list[str]:
        """Columns of the values, and of the time of a survival target."""
        return [self.column, *([self.time] if self.time else [])]

    @property
    def named(self) -> bool:
        """Whether its classes have names; a comparison or an event gives 1 and 0."""
        return self.kind == MULTICLASS or (self.kind == BINARY and bool(self.classes))

    @property
    def outcomes(self) -> tuple:
        """Negative and positive class of a binary target, in words; or all classes."""
        if self.classes:
            return self.classes
        if self.event:
            return (f"stays {' or '.join(self.among)}", "converts")
        return ("negative", "positive")

    @property
    def truth(self) -> str:
        """Column of the true values in tables of predictions.

        The scan's own column where that holds them as they are scored: a diagnosis of named
        classes, or the age in years. Ranks and 1 and 0 are no values of these columns.
        """
        own = not self.joined and not self.event
        if own and self.column == DIAGNOSIS and self.named:
            return DIAGNOSIS
        if own and self.column == AGE and self.kind == CONTINUOUS:
            return AGE
        return "converts" if self.event and self.kind == BINARY else "truth"


def target_table(targets: Mapping[str, Mapping[str, Any]]) -> dict[str, Target]:
    """All targets of a configuration, by name and in its order.

    Args:
        targets: Section ``evaluation.targets``. An entry that is null is left out.

    Raises:
        UserError: keys of an entry contradict each other, or diagnosis or age is not what the
            manipulation needs.
    """
    found = {name: make_target(name, about) for name, about in targets.items() if about is not None}
    for name, kind in ((DIAGNOSIS, BINARY), (AGE, CONTINUOUS)):
        require(
            name in found
            and found[name].kind == kind
            and found[name].column == name
            and not found[name].joined,
            f"evaluation.targets.{name} must be there, of kind {kind} and from the cohort's own "
            f"column {name}: manipulation and the command line need its probe. Give a target of "
            "your own another name.",
        )
    require(
        len(found[DIAGNOSIS].classes) == 2,
        "evaluation.targets.diagnosis.classes must name the negative and the positive diagnosis.",
    )
    return found


def compared(positive: str) -> tuple[Any, float] | None:
    """Operator and bound of a text such as ``"> 1.11"``; None if it is no comparison."""
    match = _COMPARISON.fullmatch(positive)
    return (COMPARISONS[match[1]], float(match[2])) if match else None


def make_target(name: str, about: Mapping[str, Any]) -> Target:
    """A target from its entry of ``evaluation.targets``; a key that is null is left out.

    Raises:
        UserError: keys of the entry contradict each other.
    """
    fields = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in about.items()
        if value is not None
    }
    fields.setdefault("column", name)
    fields.setdefault("label", name.replace("_", " ").capitalize())
    if isinstance(fields.get("among"), str):
        fields["among"] = (fields["among"],)
    target = Target(name=name, **fields)
    _check(target)
    return target


def _check(target: Target) -> None:
    """Refuse an entry whose keys contradict each other, naming the key and what it needs."""
    key = f"evaluation.targets.{target.name}"
    ways = [bool(target.classes), target.positive is not None, target.event is not None]
    if target.kind == BINARY:
        require(
            sum(ways) == 1 and len(target.classes) in (0, 2),
            f"{key}: a binary target needs one of classes (negative, positive), positive (such as "
            "'> 1.11', or a list of values) and event (a diagnosis, with among and months).",
        )
    else:
        require(
            target.positive is None,
            f"{key}.positive is for kind binary, and this is {target.kind}; remove it.",
        )
    if isinstance(target.positive, str):
        require(
            compared(target.positive) is not None,
            f"{key}.positive is {target.positive!r}: write a comparison with a number, such as "
            "'> 1.11', or a list of values.",
        )
    if target.event is not None:
        require(
            target.kind in (BINARY, SURVIVAL) and bool(target.among) and not target.joined,
            f"{key}.event is a diagnosis of the cohort's visits: it needs kind binary or survival "
            "and among (the diagnoses at risk), and no table.",
        )
        require(
            target.kind == SURVIVAL or target.months is not None,
            f"{key}: an event of kind binary needs months, the follow-up within which it counts.",
        )
    if target.kind == SURVIVAL:
        require(
            (target.event is None) != (target.time is None),
            f"{key}: a survival target needs either event (a diagnosis of the visits) or time (the "
            "column of months; then column is 1 for an event and 0 for none).",
        )
    require(
        not (target.table and target.study_table),
        f"{key}: table and study_table are both set; leave one out.",
    )
    require(
        (target.date is None) == (target.window_days is None),
        f"{key}: date (a column of the table) and window_days go together; set both or none.",
    )
    require(
        target.joined or not (target.date or target.subject),
        f"{key}: subject and date are columns of a table; set table or study_table, or remove "
        "them.",
    )
    require(
        PAPER not in target.probes or target.kind in (BINARY, CONTINUOUS),
        f"{key}.probes: the paper's probes are for kind binary and continuous only.",
    )
    require(
        REGULARISED in target.probes,
        f"{key}.probes must have {REGULARISED}, which all comparisons are made with.",
    )
