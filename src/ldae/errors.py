"""Errors that a user can act on."""


class UserError(Exception):
    """Something the user can mend: the message says what, where, and how.

    Command lines and workflow scripts print the message alone, without a traceback, and exit 1.
    Everything else that is raised is a defect of ours and is shown with its traceback.
    """


def require(condition: bool, message: str) -> None:
    """Raise :class:`UserError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)
