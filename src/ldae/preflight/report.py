"""The findings as text for a terminal, and as a table."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ldae.files import atomic, write_table
from ldae.preflight.finding import ERROR, WARNING, Finding

WIDTH = 110  # characters a line
_ARROW = "-> "


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
            lines.append(" " * len(head) + _ARROW + finding.remedy)  # whole: to be copied
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
