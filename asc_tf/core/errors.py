"""Errors that a user can fix: they become one line on stderr and an exit code."""


class UserError(ValueError):
    """A failure that the message explains; exit code 1."""

    exit_code = 1


class NotFiniteError(UserError):
    """A model gave probabilities that are not finite."""


class UnreadableFileError(UserError):
    """A file cannot be read or used; the message begins with its path."""


class InterruptError(UserError):
    """Ctrl-C or SIGTERM stopped the work; the message says how to resume."""

    exit_code = 130


class UsageError(UserError):
    """A wrong flag, key or value; exit code 2."""

    exit_code = 2


def install_hint(extra: str) -> str:
    """Say how to install an extra of the package, in the README's words."""
    return f"install it with pip install '.[{extra}]' in the source folder of asc_tf"
