"""Replacement of a file or folder by a new one, and removal of what was not finished.

A file appears whole at its name: it is written under a temporary name and renamed.
"""

import contextlib
import functools
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

PARTIAL = re.compile(
    r"^\.(?P<stem>.*)\.(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,9})-[0-9a-f]{8}"
    r"\.partial(?P<suffix>\..*)?$",
    re.DOTALL,
)
"""Temporary names: the beginning of the name of the file, who writes it, its suffix."""

ABANDONED_SECONDS = 24 * 3600.0
"""Age of a temporary file whose process on another machine must have been killed. A
table may be written for hours, and an export may wait for its fine-tuning without a
change of its folder."""


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path that replaces `path` when the block succeeds.

    `asc_tf.core.files.write_atomically` also takes care of links, pipes and errors.
    Each writer has a temporary name of its own, so several may write the same file: the
    last one counts. The name keeps the suffix of `path`, which some writers go by.

    Args:
        path: File or folder to write.

    Yields:
        Temporary path, in the same folder (so that the rename is atomic).

    Raises:
        OSError: If the folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    # A name has at most 255 bytes, and a character up to four.
    writer = f"{_identify_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    name = f".{path.stem[:40]}.{writer}.partial{path.suffix[:8]}"
    temporary = path.with_name(name)
    try:
        yield temporary
        if path.exists() and path.is_dir() == temporary.is_dir():
            with contextlib.suppress(OSError):  # some file systems have no modes
                shutil.copymode(path, temporary)
        if temporary.is_dir() and path.exists():
            _swap(temporary, path)
        else:
            os.replace(temporary, path)
    finally:
        _remove(temporary)


@functools.cache
def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left in a folder, once per process."""
    for path in folder.glob(".*.partial*"):
        with contextlib.suppress(OSError):  # of another user, or removed by another
            if _is_abandoned(path):
                _remove(path)


def _is_abandoned(path: Path) -> bool:
    """Check whether the process that wrote a temporary file has been killed.

    Raises:
        OSError: If the process is one of another user, or the file is gone.
    """
    name = PARTIAL.match(path.name)
    if not name:
        return False
    if name["machine"] != _identify_machine():
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    try:
        os.kill(int(name["process"]), 0)  # sends nothing
    except ProcessLookupError:
        return True
    return False


@functools.cache
def _identify_machine() -> str:
    """Identify the machine, since its start, or the container that numbers processes.

    Returns:
        Eight hexadecimal digits; random ones where the system does not say it.
    """
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text()
        identity = start + os.readlink("/proc/self/ns/pid")
    except OSError:
        identity = uuid.uuid4().hex
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def _swap(new: Path, path: Path) -> None:
    """Replace whatever is at `path` by a folder, which no single rename can do."""
    outgoing = path.with_name(f".{path.name}.old")
    _remove(outgoing)
    path.rename(outgoing)
    try:
        new.rename(path)
    except OSError:
        outgoing.rename(path)
        raise
    _remove(outgoing)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
