"""Description of the machine and the packages that a run was made with."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("asc-tf", "tensorflow", "tensorflow-io", "keras", "numpy", "ai-edge-litert")


def describe_environment() -> dict[str, Any]:
    """Describe package versions, machine, command line and git revision."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "packages": versions,
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
        "command": sys.argv,
        "git_revision": _find_git_revision(),
    }


def _find_git_revision() -> str | None:
    """Find the revision of the checkout that this package runs from, if it is one."""
    here = Path(__file__).resolve().parent.parent.parent
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
