"""Optional packages: whether they are installed."""

import importlib.util
import sys


def require_package(name: str) -> None:
    """Stop before any work when a package that it needs is not installed.

    Raises:
        ModuleNotFoundError: If it is not.
    """
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        raise ModuleNotFoundError(f"no module {name}", name=name)
