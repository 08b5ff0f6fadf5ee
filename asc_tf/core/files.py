"""Files: atomic writes, CSV tables, locks, checksums."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from asc_tf.core.errors import UserError
from asc_tf.core.replacing import replace_file

if TYPE_CHECKING:
    import numpy as np

FULL = {errno.ENOSPC, errno.EDQUOT}

SAYS_FULL = ("the disk is full", *map(os.strerror, sorted(FULL)))
"""Texts by which a message says that the disk is full: ours and the system's."""


class DiskFullError(UserError):
    """The disk is full; the message says what has become of the output.

    Args:
        path: File or folder that was to be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: {SAYS_FULL[0]}; existing files are unchanged. Free disk space "
            "and run the same command again"
        )
        self.path = path


def is_disk_full(error: Exception | str) -> bool:
    """Check whether an error says that the disk is full.

    Args:
        error: Exception, or the last line that another process wrote to stderr.
    """
    # TensorFlow's errors have a message only.
    return getattr(error, "errno", None) in FULL or any(
        text in str(error) for text in SAYS_FULL
    )


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the name `path` when the block succeeds.

    A file or folder already at `path` stays until then, and the new one gets its
    permissions. When the block fails, `path` is as it was and the temporary file or
    folder is removed. A link stays, and its target is replaced; a device or pipe like
    `/dev/stdout` is written to directly.

    Args:
        path: File or folder to write.

    Yields:
        Temporary path, as from `replace_file`.

    Raises:
        DiskFullError: If the disk is full. For a file within a folder that is being
            written like this, the error names the folder.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    if path.is_symlink() or path.name in ("", ".."):
        path = path.resolve()
    try:
        with replace_file(path) as temporary:
            yield temporary
    except DiskFullError as error:
        if temporary not in error.path.parents:
            raise
        raise DiskFullError(path) from error
    except Exception as error:
        if isinstance(error, UserError) or not is_disk_full(error):
            raise
        raise DiskFullError(path) from error


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[TextIO]:
    """Open a text file to be written bit by bit; see `write_atomically`.

    File names with bytes that are not Unicode are written with backslashes.

    Args:
        path: File to write.

    Yields:
        Open file, UTF-8, which does not change line ends.
    """
    with (
        write_atomically(path) as temporary,
        temporary.open(
            "w", encoding="utf-8", errors="backslashreplace", newline=""
        ) as stream,
    ):
        yield stream


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def format_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Format rows as CSV with a header and Unix line ends.

    Args:
        columns: Column names, in order.
        rows: Values by column; a missing value and None become an empty cell.

    Raises:
        ValueError: If a row has a key that is not among the columns.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write rows to a CSV file atomically; see `format_csv`."""
    write_text(path, format_csv(columns, rows))


def write_npz(path: Path, arrays: Mapping[str, "np.ndarray"]) -> None:
    """Write arrays, uncompressed, to a file that `numpy.load` reads.

    The content is on the disk then. `numpy.savez` does not wait for it, and prints a
    traceback of its own on a full disk, after the exception has been handled.

    Args:
        path: File to write; it is replaced.
        arrays: Arrays by name.

    Raises:
        OSError: If it cannot be written.
    """
    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
    flush_to_disk(path)


def flush_to_disk(path: Path) -> None:
    """Wait until the content of a file is on the disk.

    After a power cut a new file may be empty otherwise, under its final name too.
    """
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


@contextlib.contextmanager
def lock_file(path: Path, refusal: str) -> Iterator[None]:
    """Hold an exclusive lock on a file; it is released when the process ends.

    Windows and some file systems of clusters have no such locks: there nothing is
    locked.

    Args:
        path: Lock file; created if missing, with its folder, and never removed.
        refusal: Message of the error if another process holds the lock.

    Raises:
        UserError: If another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(refusal) from error
        except OSError as error:
            print(
                f"{path}: its file system has no locks ({error.strerror}); do not "
                "start another process with the same folder",
                file=sys.stderr,
            )
        yield


def hash_bytes(content: bytes) -> str:
    """Compute the SHA-256 of bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def hash_path(path: Path) -> str:
    """Compute the SHA-256 of a file, or of all files below a folder in sorted order.

    Args:
        path: File or folder; the names in a folder do not count.

    Returns:
        The checksum in hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in _list_files(path):
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def count_bytes(path: Path) -> int:
    """Compute the size of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in _list_files(path))


def _list_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.rglob("*") if each.is_file())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON to a file atomically; see `write_atomically`.

    Raises:
        ValueError: If a number is not finite, which JSON does not know.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with write_atomically(path) as temporary:
        # The escapes of a file name that is not UTF-8 are those of JSON.
        temporary.write_bytes(f"{text}\n".encode(errors="backslashreplace"))
