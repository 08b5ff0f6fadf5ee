"""Memory limit of this process: that of the machine or of its container."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_FILES = {
    "": ("sys/fs/cgroup", "memory.max"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
}
"""Folder and file with a control group's limit, by controller ("" in version 2)."""


def fits_memory(size: float) -> bool:
    """Check whether a size in bytes is at most half of this process's memory."""
    return size <= find_memory_limit() / 2


def find_memory_limit(root: Path = Path("/")) -> int:
    """Find how much memory this process may use.

    Args:
        root: Folder that holds `proc` and `sys`.

    Returns:
        Bytes: the smallest of the machine's memory and the limits of the process's
        control groups.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_find_cgroup_limits(root)])


def _find_cgroup_limits(root: Path) -> Iterator[int]:
    """Yield the limits of this process's control groups and of their parents."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller not in CGROUP_FILES:
                continue
            base, name = CGROUP_FILES[controller]
            folder = root / base
            # In a container the path may be the host's: then only the root exists.
            for part in ("", *Path(path).parts[1:]):
                folder /= part
                # Version 2 writes `max` where there is no limit.
                with contextlib.suppress(OSError, ValueError):
                    yield int((folder / name).read_text())
