"""Optional packages: whether they are installed."""

import importlib.util
import sys


def is_installed(name: str) -> bool:
    """Check whether a package can be imported."""
    return name in sys.modules or importlib.util.find_spec(name) is not None


def require_package(name: str) -> None:
    """Stop before any work when a package that it needs is not installed.

    Raises:
        ModuleNotFoundError: If it is not.
    """
    if not is_installed(name):
        raise ModuleNotFoundError(f"no module {name}", name=name)
