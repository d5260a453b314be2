"""Terminal: lines that stay and, below them, one that is redrawn; and where jobs write instead.

Jobs write to the standard error that they inherit from Snakemake: progress, warnings of libraries.
While a :class:`Terminal` holds a log file, that goes there, and the terminal shows its lines only.
"""

import os
import sys
from pathlib import Path

CLEAR = "\r\x1b[K"  # begin of the line; erase to its end
UNKNOWN_WIDTH = 100  # columns, of a terminal that does not tell
STREAMS = (1, 2)  # standard output, standard error


class Terminal:
    """A terminal, or a file or pipe in its place: there no line is redrawn.

    Args:
        descriptor: Of the stream to write to: 1, standard output, or 2, standard error.
    """

    def __init__(self, descriptor: int = 2):
        sys.stdout.flush()
        sys.stderr.flush()
        self._own = [os.dup(stream) for stream in STREAMS]
        self._out = os.fdopen(
            os.dup(descriptor), "w", buffering=1, encoding="utf-8", errors="replace"
        )
        dumb = os.environ.get("TERM", "dumb") == "dumb"
        self.live = self._out.isatty() and not dumb
        self._drawn = False

    def write(self, text: str) -> None:
        """Write lines that stay."""
        self._out.write((CLEAR if self._drawn else "") + text + "\n")
        self._drawn = False

    def draw(self, text: str) -> None:
        """Draw the last line anew, cut to the width of the terminal; nothing on a file or pipe."""
        if self.live:
            width = os.get_terminal_size(self._out.fileno()).columns or UNKNOWN_WIDTH
            self._out.write(CLEAR + text[: width - 1])
            self._out.flush()
            self._drawn = True

    def divert(self, log: str | Path) -> None:
        """Append to a log what this process and its jobs write to standard output and error."""
        self._switch([os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)] * len(STREAMS))

    def close(self) -> None:
        """Give standard output and error back, and erase the line that was redrawn."""
        if self._drawn:
            self._out.write(CLEAR)
        self._switch(self._own)
        self._out.close()

    def _switch(self, targets: list[int]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, target in zip(STREAMS, targets, strict=True):
            os.dup2(target, stream)
        for target in set(targets):
            os.close(target)
