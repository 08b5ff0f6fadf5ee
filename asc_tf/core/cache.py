"""Content-addressed cache: files named by a hash of all that their content depends on.

A changed setting or source has another name, so that no reader finds an outdated file.
A file has its name only when it is complete: processes may share the folder, and a
killed one leaves complete files or none.
"""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asc_tf.core.files import hash_bytes

ABANDONED_SECONDS = 3600.0
"""Age of a temporary file whose process must have been killed."""


class FileCache:
    """Cache folder with one file for each identity.

    Args:
        folder: Folder of the cache; created when the first file is written.
        suffix: Suffix of the files, such as `.npz`.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder, self._suffix = folder, suffix
        self._is_clean = False

    def locate(self, identity: Any) -> Path:
        """Give the path of a file, whether it exists or not.

        Args:
            identity: Everything that the content depends on, as JSON can express it.
        """
        name = hash_bytes(json.dumps(identity).encode())
        return self.folder / name[:2] / f"{name[2:34]}{self._suffix}"

    @contextlib.contextmanager
    def write(self, path: Path) -> Iterator[Path]:
        """Give a temporary path that takes the name `path` when the block succeeds.

        Two processes may write the same file at once: each has a temporary name of its
        own. The first call removes abandoned temporary files.

        Args:
            path: Path from `locate`.

        Yields:
            Temporary path, in the same folder.

        Raises:
            OSError: If the folder cannot be written to.
        """
        self._remove_abandoned()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        """Remove the temporary files of killed processes, once per object."""
        if self._is_clean:
            return
        self._is_clean = True
        for path in self.folder.glob("??/.*.partial"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()
