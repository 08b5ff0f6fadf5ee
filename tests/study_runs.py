"""Processes of runs in studies, for tests."""

import os
import sys
import time
from pathlib import Path

FAKE = (
    *(sys.executable, "-u"),
    str(Path(__file__).parent / "studies" / "fake_worker.py"),
)
"""Command of a process that makes up its predictions."""


def begun(root: Path) -> list[str]:
    """The runs that have begun below a folder, in order."""
    path = root / "begun.txt"
    return path.read_text().split() if path.is_file() else []


def workers(folder: Path) -> list[int]:
    """The processes of runs below a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        is_worker = any(b"worker" in word for word in words)
        if is_worker and len(words) > 2 and os.fsencode(folder) in words[-2]:
            found.append(int(path.parent.name))
    return found


def is_ended(folder: Path) -> bool:
    """Whether all of them end; on a machine that is not busy it takes no second."""
    deadline = time.monotonic() + 240
    while workers(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not workers(folder)
