"""Safe unpacking of zip and tar archives of unknown origin.

Nothing is written outside the folder; links, devices, absolute names and `..` are
refused, and so is more than the stated number of bytes.
"""

import contextlib
import lzma
import os
import platform
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NoReturn

from asc_tf.core.errors import UserError

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
)


class BrokenArchiveError(UserError):
    """The archive cannot be unpacked; trying again does not help."""


def unpack(archive: Path, folder: Path, max_bytes: int) -> None:
    """Unpack a zip or tar archive into a folder.

    Args:
        archive: Archive file; its content tells its kind, not its name.
        folder: Target folder, created if missing. Files of the same name are replaced.
        max_bytes: Largest size of the whole content in bytes.

    Raises:
        BrokenArchiveError: Naming the archive and the member, if the archive is
            damaged, has a member that is refused, or holds more than `max_bytes`.
        UserError: If the disk is too small, or this Python too old for tar archives.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, max_bytes)
        elif tarfile.is_tarfile(archive):
            _unpack_tar(archive, folder, max_bytes)
        else:
            raise BrokenArchiveError(f"{archive}: neither a zip nor a tar archive")
    except (*_BROKEN, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise BrokenArchiveError(f"{archive}: cannot be unpacked: {error}") from error


def _unpack_zip(archive: Path, folder: Path, max_bytes: int) -> None:
    with zipfile.ZipFile(archive) as stream:
        members = [each for each in stream.infolist() if not _is_litter(each.filename)]
        # A zip archive lists its content: check all of it before anything is written.
        for member in members:
            _check_name(archive, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                _refuse(archive, member.filename, "a link or a device")
        total = sum(member.file_size for member in members)
        _check_size(archive, total, max_bytes)
        check_space(archive.parent, total)
        for member in members:
            path = Path(stream.extract(member, folder))
            if path.is_file() and path.stat().st_size != member.file_size:
                raise BrokenArchiveError(
                    f"{archive}: {member.filename!r} is not of its stated size"
                )


def _unpack_tar(archive: Path, folder: Path, max_bytes: int) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"{archive}: unpacking a tar archive safely needs Python 3.11.4 or newer, "
            f"and this is {platform.python_version()}; install a newer 3.11, and give "
            "the same command again"
        )
    total = 0
    with tarfile.open(archive, "r:*") as stream:
        for member in stream:
            if _is_litter(member.name):
                continue
            _check_name(archive, member.name)
            # The filter would accept a link within the folder, which `merge` moves.
            if not member.isreg() and not member.isdir():
                _refuse(archive, member.name, "a link or a device")
            total += member.size
            _check_size(archive, total, max_bytes)
            stream.extract(member, folder, set_attrs=False, filter="data")


def _check_size(archive: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise BrokenArchiveError(
            f"{archive}: refused: it holds {size:,} bytes or more, and this corpus may "
            f"have {max_bytes:,} at most"
        )


def check_space(folder: Path, needed: int) -> None:
    """Refuse to write `needed` bytes to a disk that has no room for them.

    Raises:
        UserError: If there is no room, saying how much is needed and how much is free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are "
            "free on its disk; free disk space, or name a folder on another disk"
        )


def _is_litter(name: str) -> bool:
    """Check whether a file is one of those that macOS adds to archives."""
    parts = PurePosixPath(name).parts
    last = parts[-1] if parts else ""
    return "__MACOSX" in parts or last == ".DS_Store" or last.startswith("._")


def _check_name(archive: Path, name: str) -> None:
    """Refuse a name that could lead out of the folder, on this system or another."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        _refuse(archive, name, "a name that leads out of the folder")
    if "\\" in name or "\0" in name or (path.parts and path.parts[0][1:2] == ":"):
        _refuse(archive, name, "a name that means different things elsewhere")


def _refuse(archive: Path, name: str, reason: str) -> NoReturn:
    raise BrokenArchiveError(f"{archive}: refused: {name!r} is {reason}")


def merge(source: Path, target: Path, strip: bool) -> None:
    """Move the content of a folder into another one; files of the same name go.

    Args:
        source: Folder to move from; it is removed.
        target: Folder to move into, on the same disk.
        strip: Whether to leave out a single folder around everything.
    """
    inside = list(source.iterdir())
    if strip and len(inside) == 1 and inside[0].is_dir():
        source = inside[0]
    for folder, _, files in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.replace(Path(folder) / name, here / name)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(source)
