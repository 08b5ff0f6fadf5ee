"""Files and clips below a folder, links to other folders included."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from asc_tf.core.errors import UserError

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus", ".m4a", ".aac"),
    *(".aif", ".aiff", ".aifc", ".snd", ".voc", ".w64", ".rf64", ".caf", ".au"),
)
"""Suffixes of clips in a folder; the scan decides whether they can be decoded."""


def list_files(folder: Path) -> list[Path]:
    """List all files below a folder, sorted, as `walk_files` finds them.

    Raises:
        UserError: If a folder cannot be read, so that no class is lost silently.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}")

    return sorted(map(Path, walk_files(str(folder), refuse)))


def list_audio(folder: Path) -> list[Path]:
    """List the clips below a folder, sorted.

    Raises:
        UserError: If a folder cannot be read.
    """
    return [path for path in list_files(folder) if is_audio(path)]


def is_audio(path: Path) -> bool:
    """Check whether a path is a clip, by its name."""
    is_hidden = path.name.startswith(".")
    return path.suffix.lower() in AUDIO_SUFFIXES and not is_hidden and not path.is_dir()


def walk_files(folder: str, report: Callable[[OSError], None]) -> Iterator[str]:
    """List the files below a folder, and hidden folders, into which it does not go.

    Links to folders are followed, but no folder is read twice, so that links in a
    circle end. Folders come before links to them.

    Args:
        folder: Path of the folder.
        report: Function that is called with the error of a folder that cannot be read.

    Yields:
        Paths that begin with `folder`, in no order.
    """
    # A link to a folder above would find clips under a label that is not theirs.
    above = [path.stat() for path in Path(folder).resolve().parents if path.exists()]
    visited = {(status.st_dev, status.st_ino) for status in above}
    tops = [folder]
    for top in tops:
        for home, folders, names in os.walk(top, onerror=report):
            try:
                status = os.stat(home)
            except OSError as error:
                report(error)
                continue
            identity = (status.st_dev, status.st_ino)
            # os.walk goes on with what is in `folders` then.
            found, folders[:] = folders[:], []
            if identity in visited:
                continue
            visited.add(identity)
            for name in found:
                path = os.path.join(home, name)
                if name.startswith("."):
                    yield path
                elif os.path.islink(path):
                    tops.append(path)
                else:
                    folders.append(name)
            yield from (os.path.join(home, name) for name in names)
