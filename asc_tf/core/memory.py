"""Memory limit of this process: that of the machine or of its container."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from asc_tf.core.cgroups import ROOT, find_limit_files

USAGE_FILES = {
    "memory.max": "memory.current",
    "memory.limit_in_bytes": "memory.usage_in_bytes",
}
"""File with a control group's present use of memory, by the file with its limit."""

LIMIT_FILES = {"": "memory.max", "memory": "memory.limit_in_bytes"}
"""File with a control group's limit of memory, by controller ("" in version 2)."""


def fits_memory(size: float) -> bool:
    """Check whether a size in bytes is at most half of this process's memory."""
    return size <= find_memory_limit() / 2


def find_memory_limit(root: Path = ROOT) -> int:
    """Find how much memory this process may use.

    Args:
        root: Folder that holds `proc` and `sys`.

    Returns:
        Bytes: the smallest of the machine's memory and the limits of the process's
        control groups.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(_read_limit(path) for path in _find_limits(root))])


def find_free_memory(root: Path = ROOT) -> int:
    """Find how much memory new processes may use.

    Args:
        root: Folder that holds `proc` and `sys`.

    Returns:
        Bytes: the smallest of the machine's available memory and what the control
        groups leave. Files that the system keeps in memory count as free.
    """
    free = [find_memory_limit(root)]
    with contextlib.suppress(OSError, StopIteration, ValueError, IndexError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        free.append(1024 * int(line.split()[1]))
    for path in _find_limits(root):
        with contextlib.suppress(OSError, ValueError):
            used = int(path.with_name(USAGE_FILES[path.name]).read_text())
            used -= _read_file_pages(path.with_name("memory.stat"))
            free.append(_read_limit(path) - used)
    return max(min(free), 0)


def _read_file_pages(path: Path) -> int:
    """Read how much of a control group's memory holds files that can be dropped."""
    with contextlib.suppress(OSError, ValueError):
        rows = [line.split() for line in path.read_text().splitlines()]
        found = {row[0]: int(row[1]) for row in rows if len(row) == 2}
        # Version 1 writes those of the groups below as `total_`.
        for prefix in ("total_", ""):
            names = [f"{prefix}{kind}_file" for kind in ("inactive", "active")]
            if any(name in found for name in names):
                return sum(found.get(name, 0) for name in names)
    return 0


def _read_limit(path: Path) -> int:
    return int(path.read_text())


def _find_limits(root: Path) -> Iterator[Path]:
    """Yield the files with limits of memory; those without a limit are left out."""
    for path in find_limit_files(LIMIT_FILES, root):
        # Version 2 writes `max` where there is no limit.
        with contextlib.suppress(OSError, ValueError):
            _read_limit(path)
            yield path
