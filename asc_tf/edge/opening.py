"""Opening files that anyone may have sent: what goes wrong names the file."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from asc_tf.errors import UserError


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file for reading.

    Args:
        path: The file. A folder, pipe or device is refused: reading it could wait
            for ever.

    Yields:
        The file, and its size in bytes.

    Raises:
        UserError: If it cannot be opened, or the block raised OSError or UserError;
            the message begins with the path.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = "a folder" if path.is_dir() else "a pipe or device"
            raise UserError(f"is {kind}, not a file")
        with path.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        # A NUL in the name; nothing within a block raises it.
        raise UserError(f"{str(path)!r}: {error}") from error
