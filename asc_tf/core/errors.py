"""Errors that a user can mend: they become one line on stderr and an exit code."""


class UserError(ValueError):
    """Something failed that the message explains; exit code 1."""

    exit_code = 1


class UsageError(UserError):
    """A flag, key or value is wrong; exit code 2."""

    exit_code = 2


def install_hint(extra: str) -> str:
    """How to install an optional part of the package, as the README says it."""
    return f"install it with pip install '.[{extra}]' in the source folder of asc_tf"
