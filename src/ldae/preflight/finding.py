"""What a check found: how bad, about what, in one sentence, and how to mend it."""

from collections.abc import Iterable
from dataclasses import dataclass

OK, WARNING, ERROR = "OK", "WARNING", "ERROR"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: ``OK``; ``WARNING``: the run can go on, but look; ``ERROR``: it would fail.
        topic: paths, scans, tables, space, resources, environment, slurm, plan or cost.
        what: What was found.
        remedy: What to do about it; empty where nothing is to be done.
    """

    level: str
    topic: str
    what: str
    remedy: str = ""


def some(names: Iterable[object], shown: int = 5) -> str:
    """The first of ``names``, and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
