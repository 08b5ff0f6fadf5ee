"""Child processes for tests."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def start_interruptible(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a process that SIGINT interrupts.

    A shell makes its background jobs ignore SIGINT, their children inherit that, and
    Python installs no handler for a signal that is ignored when it starts. A handler of
    the parent is not inherited: the child starts with the default action.

    Args:
        command: The program and its arguments.
        **options: Options of `subprocess.Popen`.

    Returns:
        The started process.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, **options)
    finally:
        signal.signal(signal.SIGINT, before)


def run_python(
    code: str, *arguments: object, without: Sequence[str] = (), **options: Any
) -> subprocess.CompletedProcess:
    """Run code in a new process, in which some packages cannot be imported."""
    block = f"import sys\nsys.modules |= dict.fromkeys({list(without)!r})\n"
    command = [sys.executable, "-c", block + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)
