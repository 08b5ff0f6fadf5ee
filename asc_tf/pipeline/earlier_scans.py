"""Scans of a corpus by other runs, which are not repeated for unchanged files."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from asc_tf.config import Config
from asc_tf.core.errors import UserError
from asc_tf.manifest import Clip, read_clips
from asc_tf.workdir import Workdir

MAX_RUNS = 3
"""Number of runs in the same folder whose tables are read."""


def read_scanned_clips(folders: Iterable[Path]) -> list[Clip]:
    """Read the scanned clips of runs; a run without a table has none yet.

    The first table that has a clip counts. No more tables are read when one says that
    every clip is known.
    """
    known: dict[tuple[str, float], Clip] = {}
    for folder in folders:
        try:
            clips = read_clips(Workdir(folder).manifest_file)
        except UserError:
            continue
        scanned = [clip for clip in clips if clip.size and not clip.reason]
        known = {(clip.path, clip.start): clip for clip in scanned} | known
        if all((clip.path, clip.start) in known for clip in clips):
            break
    return [*known.values()]


def find_runs_beside(workdir: Workdir, config: Config) -> list[Path]:
    """Find the newest runs on the same corpus in the folder that a run folder is in.

    They have the same `audio.decoder`, by which a scan chooses the route of a file.

    Args:
        workdir: Run folder, which may not exist yet; it is left out.
        config: Configuration of the run.

    Returns:
        Run folders, at most `MAX_RUNS`, the newest first.
    """
    source, own = _identify_source(config), workdir.path.resolve()
    times = dict(_list_runs(own.parent))
    found: list[Path] = []
    for folder in sorted(times, key=lambda each: (-times[each], each)):
        if len(found) == MAX_RUNS:
            break
        with contextlib.suppress(UserError):
            if folder != own and _identify_source(Workdir(folder).config()) == source:
                found.append(folder)
    return found


def _identify_source(config: Config) -> tuple[str, str]:
    return os.path.realpath(config.dataset.folder), config.audio.decoder


def _list_runs(place: Path) -> Iterator[tuple[Path, int]]:
    """Yield the run folders in a folder, with the times at which they were scanned."""
    try:
        for folder in place.iterdir():
            table = Workdir(folder).manifest_file
            if table.is_file():
                yield folder, table.stat().st_mtime_ns
    except OSError:
        return
