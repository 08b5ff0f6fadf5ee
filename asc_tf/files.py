"""Outputs that are whole or absent: written beside their name, then renamed."""

import contextlib
import errno
import hashlib
import os
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from asc_tf.errors import UserError

if TYPE_CHECKING:
    import numpy as np

ABANDONED = 3600.0
"""Seconds after which a half-written file belongs to a process that was killed."""

FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the name `path` when the block succeeds.

    The temporary name keeps the suffix of `path`, which some writers go by. A file
    or folder already at `path` stays until then. When the block fails, `path` is as
    it was and the temporary file or folder is gone. A link stays, and what it points
    to is replaced; a device or pipe like `/dev/stdout` is written to as it is.

    Args:
        path: The file or folder to write.

    Yields:
        The path to write to, in the same folder (so that the rename is atomic).

    Raises:
        UserError: If the disk is full.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    if path.is_symlink() or path.name in ("", ".."):
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    # What a killed process has left; one name for all, so that it does not pile up.
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            _swap(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UserError(
            f"{path}: the disk is full; what was there is as it was. Make room, and "
            "give the same command again"
        ) from error
    finally:
        _remove(temporary)


def _swap(new: Path, path: Path) -> None:
    """Replace what is at `path` by a folder, which no single rename can."""
    outgoing = path.with_name(f".{path.name}.old")
    _remove(outgoing)
    path.rename(outgoing)
    try:
        new.rename(path)
    except OSError:
        outgoing.rename(path)
        raise
    _remove(outgoing)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_npz(path: Path, arrays: Mapping[str, "np.ndarray"]) -> None:
    """Write arrays, uncompressed, to a file that `numpy.load` reads.

    `numpy.savez` does the same, but prints a traceback of its own on a full disk, after
    the exception has been handled.

    Args:
        path: The file, which is replaced.
        arrays: The arrays by name.

    Raises:
        OSError: If it cannot be written.
    """
    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


@contextlib.contextmanager
def sharing(path: Path) -> Iterator[Path]:
    """As `replacing`, for a file that another process may be writing too.

    Each has a temporary name of its own, `.NAME.UNIQUE.partial`; see
    `remove_abandoned`.

    Args:
        path: The file to write.

    Yields:
        The path to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes have left of `sharing`, one folder down."""
    for partial in folder.glob("??/.*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > ABANDONED:
                partial.unlink()


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
