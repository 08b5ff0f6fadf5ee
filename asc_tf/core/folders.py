"""Files below a folder, links to other folders included."""

import os
from collections.abc import Callable, Iterator


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
    visited = set()
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
