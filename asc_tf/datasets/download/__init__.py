"""Installation of a corpus from its archives, complete or not at all.

All work is done in a staging folder beside the requested one, which takes the final
name when it is complete. Work that a cut connection or a killed process left there is
continued by the next run.
"""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import lock_file, write_text
from asc_tf.datasets.download.fetching import Archive, Report, fetch
from asc_tf.datasets.download.unpacking import (
    BrokenArchiveError,
    check_space,
    merge,
    unpack,
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Content of a corpus folder.

    Attributes:
        archives: Archives to fetch and unpack.
        unpacked_bytes: Approximate size of their content.
        download_bytes: Approximate size of the archives.
        strip: Whether to leave out a single folder around the content.
    """

    archives: Sequence[Archive]
    unpacked_bytes: int
    download_bytes: int
    strip: bool = True


def install(
    plan: Plan,
    folder: Path,
    name: str,
    check: Callable[[Path], object],
    report: Report,
    say: Callable[[str], None],
) -> None:
    """Fetch and unpack archives into a new folder.

    Args:
        plan: Content of the folder.
        folder: Folder to create; it may exist if it is empty.
        name: Name of the corpus; only work of the same name is continued.
        check: Function that gets the unpacked folder before it takes its name, and
            raises if its content is wrong.
        report: Callback for the progress.
        say: Callback for a line on each finished archive and each failed attempt.

    Raises:
        UsageError: If the folder is not empty.
        UserError: If an archive cannot be fetched or has the wrong content, if there is
            no room, or if another process is downloading it.
    """
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = name_staging_folder(folder, name)
    staging.mkdir(exist_ok=True)
    unpacked = staging / "unpacked"
    unpacked.mkdir(exist_ok=True)
    with lock_file(staging / "lock", f"{staging}: another process is downloading it"):
        left = [each for each in plan.archives if not _is_done(each, staging)]
        check_space(staging, _count_needed_bytes(plan, left, staging))
        for each in left:
            path = fetch(each, staging, report, say)
            _unpack(path, staging, plan)
            write_text(_done_file(each, staging), _describe(each))
            path.unlink()
            say(f"{each.name}: fetched, checked and unpacked")
        try:
            check(unpacked)
        except UserError as error:
            raise UserError(f"{error}; remove {staging} to begin again") from error
        os.rename(unpacked, folder)
        shutil.rmtree(staging)


def name_staging_folder(folder: Path, name: str) -> Path:
    """Name the folder in which the work is done until it is complete."""
    return folder.with_name(f".{folder.name}.{name}.partial")


def check_free(folder: Path) -> None:
    """Refuse a folder in which no corpus can be installed.

    Raises:
        UsageError: If it is a file, is not empty, or is a disk of its own.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; name a new folder")
    if os.path.ismount(folder):
        raise UsageError(f"{folder} is a disk of its own; name a folder in it")


def _unpack(path: Path, staging: Path, plan: Plan) -> None:
    fresh = staging / "unpacking"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        # Twice the stated size, because the authors round it.
        unpack(path, fresh, 2 * plan.unpacked_bytes)
    except BrokenArchiveError:
        path.unlink()
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    merge(fresh, staging / "unpacked", plan.strip)
    shutil.rmtree(fresh, ignore_errors=True)


def _describe(archive: Archive) -> str:
    return f"{archive.url} {archive.checksum}\n"


def _done_file(archive: Archive, staging: Path) -> Path:
    return staging / f"{archive.name}.done"


def _is_done(archive: Archive, staging: Path) -> bool:
    with contextlib.suppress(OSError):
        return _done_file(archive, staging).read_text("utf-8") == _describe(archive)
    return False


def _count_needed_bytes(plan: Plan, left: Sequence[Archive], staging: Path) -> int:
    """Estimate the bytes still to be written: the content and one archive at a time."""
    if not left:
        return 0
    mean = plan.download_bytes / len(plan.archives)
    sizes = [each.size or mean for each in left]
    total = sum(each.size or mean for each in plan.archives)
    fetched = sum(path.stat().st_size for path in staging.glob("*.part"))
    return int(sum(sizes) / total * plan.unpacked_bytes + max(sizes)) - fetched
