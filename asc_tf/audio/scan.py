"""Scan of a corpus: each file is read once before the pipeline may decode it."""

import dataclasses
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from asc_tf.audio import sndfile
from asc_tf.audio.inspect import SILENT, Inspection, inspect_all, list_routes
from asc_tf.config import Audio
from asc_tf.core.progress_bar import Progress, show_nothing
from asc_tf.manifest import Clip, Manifest

MIN_SECONDS = 0.01
"""Shortest duration of a clip: one period of 100 Hz. Of a shorter clip a model would
learn the padding. The shortest clip of UrbanSound8K has 0.054 s."""


def scan(
    manifest: Manifest,
    root: Path,
    splits: Collection[str],
    audio: Audio,
    *,
    known: Iterable[Clip] = (),
    progress: Progress = show_nothing,
) -> Manifest:
    """Read the clips of some splits and note what they hold.

    A file that an earlier scan accepted is not read again if its size and modification
    time are the same and this machine has its decoder. A file that was refused is read
    again: the reason may be gone.

    Args:
        manifest: Manifest to scan.
        root: Folder of the corpus.
        splits: Splits to scan. Clips of other splits do not change, nor do clips of
            shared recordings that are left out.
        audio: Audio settings: the decoder, and how long a file may be.
        known: Clips of an earlier scan.
        progress: Wrapper of the iterator of finished files; see `make_bar`.

    Returns:
        The manifest with the scan's columns; a clip that cannot be used has its
        reason.
    """
    earlier = {
        (clip.path, clip.size, clip.mtime_ns): clip
        for clip in known
        if _is_still_valid(clip, audio)
    }

    def is_scanned(clip: Clip) -> bool:
        return clip.split in splits and not clip.is_dropped

    own = [clip for clip in manifest.clips if is_scanned(clip)]
    stamps = {path: read_stamp(root / path) for path in {clip.path for clip in own}}
    unknown = sorted(
        path for path, stamp in stamps.items() if (path, *stamp) not in earlier
    )
    files = [root / path for path in unknown]
    inspected = inspect_all(files, audio.max_seconds, progress, audio.decoder)
    found = dict(zip(unknown, inspected, strict=True))
    sources = {
        path: found.get(path) or earlier[path, *stamp] for path, stamp in stamps.items()
    }
    clips = tuple(
        _fill_in(clip, stamps[clip.path], sources[clip.path])
        if is_scanned(clip)
        else clip
        for clip in manifest.clips
    )
    return dataclasses.replace(manifest, clips=clips)


def _is_still_valid(clip: Clip, audio: Audio) -> bool:
    """Check whether a clip of an earlier scan can be used under these settings."""
    is_in_graph = clip.route != sndfile.ROUTE
    return (
        bool(clip.size)
        and not clip.reason
        and clip.samples <= audio.max_seconds * clip.sample_rate
        and clip.route in list_routes()
        and (audio.decoder == "auto" or is_in_graph == (audio.decoder == "graph"))
    )


def read_stamp(path: Path) -> tuple[int, int]:
    """Read size and modification time of a file; both 0 if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        # ValueError: a name with a NUL.
        return 0, 0
    return status.st_size, status.st_mtime_ns


_INSPECTED = ("route", "sample_rate", "channels", "samples", "peak", "note")


def _fill_in(clip: Clip, stamp: tuple[int, int], source: Inspection | Clip) -> Clip:
    """Fill in the columns of the scan, from an inspection or an earlier scan."""
    columns: dict[str, Any] = {name: getattr(source, name) for name in _INSPECTED}
    columns |= {"size": stamp[0], "mtime_ns": stamp[1], "reason": ""}
    if isinstance(source, Inspection):
        silent = SILENT if source.peak == 0 else ""
        columns["reason"] = source.refusal or silent
    clip = dataclasses.replace(clip, **columns)
    return clip if clip.reason else _check_length(clip)


def _check_length(clip: Clip) -> Clip:
    """Leave out a clip with too few samples, or none, of its file."""
    seconds = clip.samples / clip.sample_rate
    reason = ""
    if round(clip.start * clip.sample_rate) >= clip.samples:
        reason = f"starts at {clip.start:g} s in a file of {seconds:.2f} s"
    elif clip.duration and not round(clip.duration * clip.sample_rate):
        reason = f"a duration of {clip.duration:g} s holds no sample"
    elif clip.seconds < MIN_SECONDS:
        reason = (
            f"too short: {1000 * clip.seconds:.2g} ms, and a clip needs "
            f"{1000 * MIN_SECONDS:g} ms or more; remove it, or put a longer one there"
        )
    return dataclasses.replace(clip, reason=reason)
