"""Failure of a job: its one-sentence error, read from the job's log."""

import re
from collections.abc import Iterable
from pathlib import Path

# Lines that the scripts of the workflow log (workflow/scripts/_adapter.py).
LOGGED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>[A-Z]+) (?P<message>.*)$")
STATUS = re.compile(r"(returned non-zero exit status \d+|died with <Signals\.\w+: \d+>)")
MEMORY = "; 137 and SIGKILL mostly mean that the memory did not suffice"
END = 64 * 1024  # bytes read from the end of a log


def failure_reason(logs: Iterable[str | Path], said: str = "") -> str:
    """Why a job failed: the error that it logged, or else the end of its log, or its exit status.

    Args:
        logs: Log files of the job.
        said: What Snakemake said of the job.
    """
    for path in map(Path, logs):
        lines = _last_lines(path)
        errors = [k for k, line in enumerate(lines) if _level(line) == "ERROR"]
        if errors:
            message = LOGGED.match(lines[errors[-1]])["message"]
            more = lines[errors[-1] + 1 :]
            traceback = [line for line in more if line and not line.startswith((" ", "Traceback"))]
            if "Traceback (most recent call last):" not in more:
                return "\n".join([message, *(line for line in more if _level(line) is None)])
            return f"{message}: {traceback[-1]} (a defect; its traceback is in the log)"
        if lines:
            return f"its log ends with: {lines[-1].strip()}" + _status(said)
    return ("It ended without a word" + _status(said)) if _status(said) else said.strip()


def _last_lines(path: Path) -> list[str]:
    """Last lines of a log that are not blank; none without a file."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - END))
        text = file.read().decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def _level(line: str) -> str | None:
    found = LOGGED.match(line)
    return found["level"] if found else None


def _status(said: str) -> str:
    """The exit status that Snakemake names, in brackets; empty if it names none."""
    found = STATUS.search(said)
    return (
        f" ({found[0]}{MEMORY if '137' in found[0] or 'KILL' in found[0] else ''})" if found else ""
    )
