"""Memory of this process: the machine's, or the limit of its container."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_FILES = {
    "": ("sys/fs/cgroup", "memory.max"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
}
"""Where a control group states its limit: version 2, and version 1, by controller."""


def fits_memory(size: float) -> bool:
    """Whether so many bytes are at most half of the memory of this process."""
    return size <= memory_limit() / 2


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use.

    Args:
        root: The folder that holds `proc` and `sys`.

    Returns:
        The smallest of the machine's memory and the limits of the process's control
        groups.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_cgroup_limits(root)])


def _cgroup_limits(root: Path) -> Iterator[int]:
    """The limits of the control groups of this process, and of those around them."""
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
            # In a container the path may be the host's: then only the first is there.
            for part in ("", *Path(path).parts[1:]):
                folder /= part
                # Version 2 writes `max` where there is no limit.
                with contextlib.suppress(OSError, ValueError):
                    yield int((folder / name).read_text())
