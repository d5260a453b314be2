"""Errors that a user can act on, and how command lines show them."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend: the message says what, where, and how.

    Command lines and workflow scripts print the message alone, without a traceback, and exit 1.
    Everything else that is raised is a defect of ours and is shown with its traceback.
    """


def require(condition: bool, message: str) -> None:
    """Raise :class:`UserError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)


def exit_status(command: Callable[[], object]) -> int:
    """Run a command; the exit status it returns, else 0, or 1 after a user's error, printed."""
    try:
        status = command()
        return status if isinstance(status, int) else 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
