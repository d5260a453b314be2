"""Findings of the checks (level, topic, sentence, remedy), as terminal text and as a table."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ldae.files import atomic, write_table

OK, WARNING, ERROR = "OK", "WARNING", "ERROR"
WIDTH = 110  # characters a line
_ARROW = "-> "


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: ``OK``; ``WARNING``: the run can go on, with a risk; ``ERROR``: it would fail.
        topic: paths, scans, tables, space, resources, environment, slurm, plan or cost.
        what: The finding, in one sentence.
        remedy: What to do about it; empty if nothing is to be done.
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


def summary(findings: Sequence[Finding]) -> str:
    """``2 errors, 1 warning``."""
    numbers = {level: sum(f.level == level for f in findings) for level in (ERROR, WARNING)}
    words = [f"{n} {level.lower()}{'' if n == 1 else 's'}" for level, n in numbers.items()]
    return ", ".join(words)


def text(findings: Sequence[Finding]) -> str:
    """An aligned table: level, topic, what; the remedy below it where one is needed."""
    level = max(len(f.level) for f in findings) + 2
    topic = max(len(f.topic) for f in findings) + 2
    lines = []
    for finding in findings:
        head = f"{finding.level:<{level}}{finding.topic:<{topic}}"
        lines += _wrapped(finding.what, head)
        if finding.remedy:
            lines.append(" " * len(head) + _ARROW + finding.remedy)  # not wrapped: to be copied
    return "\n".join([*lines, "", summary(findings)]) + "\n"


def _wrapped(content: str, head: str) -> list[str]:
    return textwrap.wrap(
        content,
        width=WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def write(findings: Sequence[Finding], folder: str | Path) -> None:
    """Write check.txt, as :func:`text`, and check.tsv: level, topic, what, remedy."""
    folder = Path(folder)
    with atomic(folder / "check.txt") as temporary:
        temporary.write_text(text(findings))
    rows = [[f.level, f.topic, f.what, f.remedy or None] for f in findings]
    table = pd.DataFrame(rows, columns=["level", "topic", "what", "remedy"])
    write_table(table, folder / "check.tsv")
