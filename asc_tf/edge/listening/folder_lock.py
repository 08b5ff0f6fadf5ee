"""Lock of a folder of results, which only one listener may write to."""

import contextlib
from pathlib import Path

from asc_tf.core.files import lock_file


class FolderLock:
    """Exclusive lock of a folder, until `close` or the end of the process.

    Args:
        folder: The folder; it is made if it is missing.
        name: Name of the lock file in it.
        flag: Flag that named the folder, for the message of the error.
    """

    def __init__(self, folder: Path, name: str, flag: str) -> None:
        self._path, self._flag = folder / name, flag
        self._stack = contextlib.ExitStack()
        self._is_locked = False

    def acquire(self) -> None:
        """Lock the folder, if its file system has locks and it is not locked yet.

        Raises:
            UserError: If another process holds the lock.
            OSError: If the folder cannot be written.
        """
        if self._is_locked:
            return
        refusal = (
            f"{self._path.parent}: another asc-edge listen writes there; give a folder "
            f"of its own to each (--{self._flag})"
        )
        try:
            self._stack.enter_context(lock_file(self._path, refusal))
        except PermissionError as error:
            # Of root for example, who has tried the program by hand.
            raise PermissionError(
                error.errno, f"{error.strerror} (lock file {self._path.name})"
            ) from error
        self._is_locked = True

    def close(self) -> None:
        """Release the lock."""
        self._stack.close()
        self._is_locked = False
