"""Child processes: their job, their answers, their limits, and how they ended."""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any, TextIO


def read_job() -> dict[str, Any]:
    """Read the job, a line of JSON; from then on this process ends with its parent.

    The parent leaves the standard input open. When it ends, even by `kill -9`, the
    input ends, and this process with it.

    Raises:
        SystemExit: If the input ends before the line does.
    """
    line = b""
    while not line.endswith(b"\n"):
        # Read without a buffer, from which the rest could not be watched.
        if not (more := os.read(sys.stdin.fileno(), 65536)):
            raise SystemExit("the parent process ended before it wrote the job")
        line += more
    job: dict[str, Any] = json.loads(line)

    def end_with_parent() -> None:
        # The parent writes nothing more: the read returns when it has gone.
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    return job


def take_standard_output() -> TextIO:
    """Take standard output for answers; what libraries print there goes to stderr.

    Returns:
        The stream of the answers.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def parse_answer(line: str) -> dict[str, Any]:
    """Parse the answer of a child process, a JSON object in a line.

    Returns:
        The answer; empty for a report of progress, or half a line of a killed child.
    """
    with contextlib.suppress(json.JSONDecodeError):
        return dict(json.loads(line))
    return {}


def remove_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Copy environment variables without passwords and tokens of this package."""
    return {
        name: value
        for name, value in environment.items()
        if not (name.startswith("ASC_TF_") and name.endswith(("_PASSWORD", "_TOKEN")))
    }


def lower_limits(**limits: int) -> None:
    """Lower limits of this process; one that is lower already stays.

    A system that does not know a limit (Windows knows none, macOS none of the address
    space) is left as it is.

    Args:
        limits: Values by the names of the module `resource`, such as `RLIMIT_AS`.
    """
    try:
        import resource
    except ModuleNotFoundError:
        return
    for name, value in limits.items():
        kind = getattr(resource, name)
        soft, hard = resource.getrlimit(kind)
        known = [each for each in (soft, hard, value) if each != resource.RLIM_INFINITY]
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (min(known), hard))


def name_signal(code: int) -> str:
    """Name the signal that ended a process, such as `SIGSEGV`; empty if none did.

    Args:
        code: `returncode` of `subprocess`.
    """
    if code >= 0:
        return ""
    try:
        return signal.Signals(-code).name
    except ValueError:  # Signals of real time have no names.
        return f"signal {-code}"


def describe_end(code: int) -> str:
    """Describe how a process ended, by its `returncode` of `subprocess`."""
    name = name_signal(code)
    if not name:
        return f"exit code {code}"
    hint = ", perhaps because memory was full" if name == "SIGKILL" else ""
    return f"ended by {name}{hint}"
