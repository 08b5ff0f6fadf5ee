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

from asc_tf.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

ABANDONED = 3600.0
"""Seconds after which a half-written file belongs to a process that was killed."""

FULL = {errno.ENOSPC, errno.EDQUOT}

SAYS_FULL = ("the disk is full", *map(os.strerror, sorted(FULL)))
"""What messages say on a full disk: our own, and those of the system."""


class DiskFullError(UserError):
    """The disk is full; the message says what has become of the output.

    Args:
        path: The file or folder that was to be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: {SAYS_FULL[0]}; what was there is as it was. Make room, and give "
            "the same command again"
        )
        self.path = path


def is_disk_full(error: Exception | str) -> bool:
    """Whether an error says that the disk is full.

    Args:
        error: An error, or the last line that another process wrote to stderr.
    """
    # TensorFlow's errors have a message only.
    return getattr(error, "errno", None) in FULL or any(
        text in str(error) for text in SAYS_FULL
    )


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
        DiskFullError: If the disk is full. For a file within a folder that is being
            written like this, the error names the folder.
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
    except DiskFullError as error:
        if temporary not in error.path.parents:
            raise
        raise DiskFullError(path) from error
    except Exception as error:
        if isinstance(error, UserError) or not is_disk_full(error):
            raise
        raise DiskFullError(path) from error
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


def tree_bytes(path: Path) -> int:
    """The size of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in _files(path))


def tree_sha256(path: Path) -> str:
    """The checksum of a file, or of all files below a folder, one after the other."""
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.rglob("*") if each.is_file())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
