"""Errors that a user can act on, and how command lines show them."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """An error that the user can mend: the message says what is wrong, where, and how to mend it.

    Command lines and workflow scripts print the message alone, without a traceback, and exit 1.
    Any other exception is a defect of the software and is shown with its traceback.
    """


def require(condition: bool, message: str) -> None:
    """Raise :class:`UserError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)


def exit_status(command: Callable[[], object]) -> int:
    """Run a command and return its exit status: 0 if it returns none, 1 after a :class:`UserError`.

    The message of the error is printed to stderr.
    """
    try:
        status = command()
        return status if isinstance(status, int) else 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
