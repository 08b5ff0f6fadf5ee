"""Content-addressed cache: files named by a hash of all that their content depends on.

A changed setting or source has another name, so that no reader finds an outdated file.
A file has its name only when it is complete: processes may share the folder, and a
killed one leaves complete files or none.
"""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from asc_tf.core.files import hash_bytes
from asc_tf.core.replacing import replace_file


class FileCache:
    """Cache folder with one file for each identity, with a suffix such as `.npz`."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder, self._suffix = folder, suffix

    def locate(self, identity: Any) -> Path:
        """Give the path of a file, whether it exists or not.

        Args:
            identity: Everything that the content depends on, as JSON can express it.
        """
        name = hash_bytes(json.dumps(identity).encode())
        return self.folder / name[:2] / f"{name[2:34]}{self._suffix}"

    def write(self, path: Path) -> AbstractContextManager[Path]:
        """Give a temporary path that takes the name `path` when the block succeeds.

        Raises:
            OSError: If the folder cannot be written to.
        """
        return replace_file(path)
