"""Planted relations: which labels are made of a synthetic cohort's truth, and how strong they are.

Neither numpy nor pandas is imported, because the rules read this table when the workflow starts.
"""

from collections.abc import Mapping
from pathlib import Path

from ldae.errors import require
from ldae.evaluation.probes.target_table import (
    BINARY,
    CONTINUOUS,
    MULTICLASS,
    ORDINAL,
    SURVIVAL,
    Target,
)

# Target of ``evaluation.targets`` -> its kind, its columns in the table of labels (values; the time
# of a survival target), and what was planted, in words.
RELATED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "planted_number": (CONTINUOUS, ("number",), "tissue loss, and noise of half its SD"),
    "planted_case": (BINARY, ("case",), "log-odds of twice the tissue loss"),
    "planted_group": (
        MULTICLASS,
        ("group",),
        "log-odds of 1.5 by ventricles and by hippocampi against neither",
    ),
    "planted_level": (ORDINAL, ("level",), "four levels of loss with noise of half its SD"),
    "planted_event": (SURVIVAL, ("event", "months"), "hazard e times as high for an SD of loss"),
}
NOISE: dict[str, tuple[str, tuple[str, ...], str]] = {
    "planted_noise": (CONTINUOUS, ("noise",), "a number drawn for each person"),
    "planted_coin": (BINARY, ("coin",), "a coin thrown for each person"),
}
NOISE_COLUMNS = tuple(column for _, columns, _ in NOISE.values() for column in columns)
GROUPS = ("neither", "ventricles", "hippocampi")
NOISE_SD = 0.5  # of number and level, in SDs of the tissue loss
CASE_SLOPE = 2.0  # log-odds of a case for an SD of tissue loss
GROUP_SLOPE = 1.5  # log-odds of a group for an SD of its volume
CUTS = (-1.0, 0.0, 1.0)  # between the levels
HAZARD = 1 / 36  # events a month at the mean tissue loss
HAZARD_SLOPE = 1.0
FOLLOW_UP = (12.0, 60.0)  # months, uniform: the latest time that is observed
SITES = ("A", "B")
EVEN, SKEWED = "even", "skewed"  # columns of the sites
SIZES = (0.0, 1.0, 2.0)  # of the even site's shift, in SDs of the code along it
SKEWED_SIZE = 1.0
# Share of the people at site B by the diagnosis at the first visit.
SHARE_AT_B = {"CN": 0.3, "AD": 0.7}
ELSE = 0.5  # of other people, and of all in the column EVEN


def require_own_labels(path: str | Path) -> None:
    """Require that the file of the labels is one that was planted, or that there is none.

    Raises:
        UserError: another table has this name, which the rule would overwrite.
    """
    path = Path(path)
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        columns = lines.readline(10_000).rstrip("\n").split("\t")
    shown = ", ".join(column[:40] for column in columns[:5])
    require(
        {EVEN, SKEWED, *NOISE_COLUMNS} <= set(columns),
        f"evaluation.planted.labels is {path}, but the table there was not planted: it begins with "
        f'"{shown}". It would be overwritten: give the labels another name.',
    )


def require_planted(targets: Mapping[str, Target], labels: str) -> None:
    """Require every planted target as it is planted, and a file of labels that may be written.

    Args:
        targets: The targets of ``evaluation.targets``, by name.
        labels: File of the labels (``evaluation.planted.labels``).

    Raises:
        UserError: a target is missing, of another kind, or from other columns; or another table
            has the labels' name.
    """
    for name, (kind, columns, _) in {**RELATED, **NOISE}.items():
        found = targets.get(name)
        as_planted = found is not None and (found.kind, found.table) == (kind, labels)
        require(
            as_planted and tuple(found.columns) == columns,
            f"evaluation.planted needs evaluation.targets.{name} with kind: {kind}, table: "
            f"{labels} and column: {' and time: '.join(columns)} (config/proof.yaml shows it). Set "
            "it so, or set evaluation.planted to null.",
        )
    require_own_labels(labels)
