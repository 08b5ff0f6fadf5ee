"""Opening of untrusted files; the messages of errors name the file."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from asc_tf.core.errors import UnreadableFileError, UserError


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file for reading, and name it in errors.

    Yields:
        The open file, and its size in bytes.

    Raises:
        UnreadableFileError: If it cannot be opened, or the block raises OSError or
            UserError; the message begins with the path.
    """
    with name_in_errors(path), open_regular_file(path) as file_and_size:
        yield file_and_size


@contextlib.contextmanager
def name_in_errors(path: str | Path) -> Iterator[None]:
    """Put the path of a file before the messages of errors.

    Raises:
        UnreadableFileError: If the block raises OSError or UserError.
    """
    # Some terminals would end the line at a NUL in the name.
    name = str(path) if "\0" not in str(path) else repr(str(path))
    try:
        yield
    except UserError as error:
        raise UnreadableFileError(f"{name}: {error}") from error
    except FileNotFoundError as error:
        raise UnreadableFileError(f"{name}: no such file") from error
    except OSError as error:
        raise UnreadableFileError(f"{name}: {error.strerror or error}") from error


@contextlib.contextmanager
def open_regular_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file for reading.

    Args:
        path: Path of the file. A folder, pipe or device is refused, because reading it
            could wait for ever.

    Yields:
        The open file, and its size in bytes.

    Raises:
        UserError: If it is not a regular file; the message does not name it.
        OSError: If it cannot be opened.
    """
    try:
        is_regular = stat.S_ISREG(os.stat(path).st_mode)
    except ValueError as error:  # a NUL in the name
        raise UserError(str(error)) from error
    if not is_regular:
        kind = "a folder" if path.is_dir() else "a pipe or device"
        raise UserError(f"is {kind}, not a file")
    with path.open("rb") as file:
        yield file, os.fstat(file.fileno()).st_size
