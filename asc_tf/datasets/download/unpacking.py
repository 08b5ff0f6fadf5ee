"""Unpack an archive of unknown origin without letting it do harm.

Nothing is written outside the folder; links, devices, absolute names and `..` are
refused, and so is more than the stated number of bytes.
"""

import contextlib
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from asc_tf.core.errors import UserError

BLOCK = 2**20
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
)


class BrokenArchiveError(UserError):
    """The archive cannot be unpacked, however often one tries."""


def unpack(archive: Path, folder: Path, most: int) -> int:
    """Unpack a zip or tar archive into a folder.

    Args:
        archive: The archive; its content tells its kind, not its name.
        folder: Where to; created if missing. What is there already is replaced.
        most: Bytes that the content may have in all.

    Returns:
        The bytes written.

    Raises:
        BrokenArchiveError: Naming the archive and the member, if it is no sound
            archive, holds what is refused, or holds more than `most`.
        UserError: If the disk is too small for it.
    """
    written = 0
    try:
        for name, size, source in _members(archive, most):
            target = folder / _checked(archive, name)
            if source is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            written += size
            _check_size(archive, written, most)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(archive, name, source, target, size)
    except (*_BROKEN, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise BrokenArchiveError(f"{archive}: cannot be unpacked: {error}") from error
    return written


_Members = Iterator[tuple[str, int, IO[bytes] | None]]


def _members(archive: Path, most: int) -> _Members:
    """Name, size and content of each file; None as the content of a folder."""
    if zipfile.is_zipfile(archive):
        return _zip_members(archive, most)
    if tarfile.is_tarfile(archive):
        return _tar_members(archive)
    raise BrokenArchiveError(f"{archive}: neither a zip nor a tar archive")


def _zip_members(archive: Path, most: int) -> _Members:
    with zipfile.ZipFile(archive) as stream:
        members = [each for each in stream.infolist() if not _is_litter(each.filename)]
        # A zip archive says first what is in it: it is refused before any is written.
        for each in members:
            _checked(archive, each.filename)
            kind = stat.S_IFMT(each.external_attr >> 16)
            if kind and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                raise _refused(archive, each.filename, "a link or a device")
        whole = sum(each.file_size for each in members)
        _check_size(archive, whole, most)
        check_space(archive.parent, whole)
        for each in members:
            if each.is_dir():
                yield each.filename, 0, None
                continue
            with stream.open(each) as source:
                yield each.filename, each.file_size, source


def _tar_members(archive: Path) -> _Members:
    with tarfile.open(archive, "r:*") as stream:
        for each in stream:
            if _is_litter(each.name):
                continue
            if not each.isreg() and not each.isdir():
                raise _refused(archive, each.name, "a link or a device")
            if each.isdir():
                yield each.name, 0, None
                continue
            source = stream.extractfile(each)
            assert source is not None
            with source:
                yield each.name, each.size, source


def _check_size(archive: Path, size: int, most: int) -> None:
    if size > most:
        raise BrokenArchiveError(
            f"{archive}: refused: it holds {size:,} bytes or more, and {most:,} are "
            "the most that this corpus may have"
        )


def check_space(folder: Path, needed: int) -> None:
    """Refuse work that a disk has no room for.

    Args:
        folder: A folder on the disk.
        needed: Bytes.

    Raises:
        UserError: Saying how much is needed and how much is free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are "
            "free on its disk; make room or name a folder on another disk"
        )


def _is_litter(name: str) -> bool:
    """Whether a file is what macOS leaves in archives."""
    parts = PurePosixPath(name).parts
    last = parts[-1] if parts else ""
    return "__MACOSX" in parts or last == ".DS_Store" or last.startswith("._")


def _checked(archive: Path, name: str) -> PurePosixPath:
    """The name, if it can only lead into the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _refused(archive, name, "a name that leads out of the folder")
    if "\\" in name or "\0" in name or (path.parts and path.parts[0][1:2] == ":"):
        raise _refused(archive, name, "a name that means different things elsewhere")
    return path


def _refused(archive: Path, name: str, reason: str) -> BrokenArchiveError:
    return BrokenArchiveError(f"{archive}: refused: {name!r} is {reason}")


def _write(
    archive: Path, name: str, source: IO[bytes], target: Path, size: int
) -> None:
    left = size
    with target.open("wb") as stream:
        while block := source.read(min(BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            stream.write(block)
    if left:
        raise BrokenArchiveError(f"{archive}: {name!r} is not of its stated size")


def merge(source: Path, target: Path, strip: bool) -> None:
    """Move what is in one folder into another, replacing files of the same name.

    Args:
        source: The folder that is emptied.
        target: The folder that receives; on the same disk.
        strip: Whether a single folder around everything is left out.
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
