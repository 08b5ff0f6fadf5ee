"""The scan: every clip of a split is read once before the pipeline may decode it."""

import dataclasses
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from asc_tf.audio import sndfile
from asc_tf.audio.inspect import SILENT, Inspection, inspect_all, list_routes
from asc_tf.config import Audio
from asc_tf.manifest import Clip, Manifest

MIN_SECONDS = 0.01
"""A shorter clip is left out: it is one period of 100 Hz, and what a model would learn
is the padding. The shortest clip of UrbanSound8K has 0.054 s."""


def scan(
    manifest: Manifest,
    root: Path,
    splits: Collection[str],
    audio: Audio,
    *,
    known: Iterable[Clip] = (),
    progress: Callable[[Iterable], Iterable] = iter,
) -> Manifest:
    """Read the clips of some splits and note what is in them.

    A file that was found good before, and has the same size and modification time, is
    not read again, if this machine has its decoder. One that was refused is: the reason
    may be gone.

    Args:
        manifest: The manifest.
        root: The corpus folder.
        splits: The splits to scan; clips of other splits are not touched, nor are
            those of shared recordings that are left out.
        audio: The audio settings: the decoder, and how long a file may be.
        known: Clips of an earlier scan.
        progress: Wraps the iterator of finished files, `tqdm` for one.

    Returns:
        The manifest with the scan's columns; a clip that cannot be used has its
        reason.
    """
    earlier = {_key(clip): clip for clip in known if _still_stands(clip, audio)}

    def is_read(clip: Clip) -> bool:
        return clip.split in splits and not clip.is_dropped

    mine = [clip for clip in manifest.clips if is_read(clip)]
    stamps = {path: _stamp(root / path) for path in {clip.path for clip in mine}}
    fresh = sorted(
        path for path, stamp in stamps.items() if (path, *stamp) not in earlier
    )
    found = dict(
        zip(
            fresh,
            inspect_all(
                [root / path for path in fresh],
                audio.max_seconds,
                progress,
                audio.decoder,
            ),
            strict=True,
        )
    )

    def scanned(clip: Clip) -> Clip:
        if not is_read(clip):
            return clip
        size, mtime_ns = stamps[clip.path]
        if clip.path in found:
            columns = _columns(found[clip.path])
        else:
            columns = _scan_columns(earlier[clip.path, size, mtime_ns])
        clip = dataclasses.replace(clip, size=size, mtime_ns=mtime_ns, **columns)
        return clip if clip.reason else _check_length(clip)

    clips = tuple(scanned(clip) for clip in manifest.clips)
    return dataclasses.replace(manifest, clips=clips)


def _still_stands(clip: Clip, audio: Audio) -> bool:
    """Whether what an earlier scan found good is so under these settings too."""
    by_graph = clip.route != sndfile.ROUTE
    return (
        bool(clip.size)
        and not clip.reason
        and clip.samples <= audio.max_seconds * clip.sample_rate
        and clip.route in list_routes()
        and (audio.decoder == "auto" or by_graph == (audio.decoder == "graph"))
    )


def _key(clip: Clip) -> tuple[str, int, int]:
    return clip.path, clip.size, clip.mtime_ns


def _stamp(path: Path) -> tuple[int, int]:
    """Size and modification time, 0 where there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        # ValueError: a name with a NUL.
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _columns(found: Inspection) -> dict:
    reason = found.refusal
    if not reason and found.peak == 0:
        reason = SILENT
    return {
        "route": found.route,
        "sample_rate": found.sample_rate,
        "channels": found.channels,
        "samples": found.samples,
        "peak": found.peak,
        "note": found.note,
        "reason": reason,
    }


def _scan_columns(clip: Clip) -> dict:
    return {name: getattr(clip, name) for name in _SCANNED}


_SCANNED = (
    *("route", "sample_rate", "channels", "samples", "peak"),
    *("note", "reason"),
)


def _check_length(clip: Clip) -> Clip:
    """Leave out a clip that holds no sample of its file, or too few to be a sound."""
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
