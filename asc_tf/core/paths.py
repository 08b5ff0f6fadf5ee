"""Paths as users write them."""

import os
from pathlib import Path


def expand_home(path: str | Path) -> Path:
    """Expand a leading `~`; a name without a home folder, like `~x`, stays as it is.

    `Path.expanduser` raises an error for such a name.
    """
    return Path(os.path.expanduser(path))
