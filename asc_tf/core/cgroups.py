"""Control groups of Linux, by which a container limits its processes."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path("/")
"""Folder that holds `proc` and `sys`."""

MOUNT = "sys/fs/cgroup"
"""Folder of the control groups; in version 1 it has one folder for each controller."""


def find_limit_files(names: Mapping[str, str], root: Path = ROOT) -> Iterator[Path]:
    """Yield the files with a limit of this process's control groups and their parents.

    Args:
        names: Name of the file by controller ("" in version 2).
        root: Folder that holds `proc` and `sys`.

    Yields:
        Paths, some of which may not exist.
    """
    lines: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        for controller in controllers.split(","):
            if controller not in names:
                continue
            folder = root / MOUNT / controller
            # In a container the path may be the host's: then only the root exists.
            for part in ("", *Path(path).parts[1:]):
                folder /= part
                yield folder / names[controller]
