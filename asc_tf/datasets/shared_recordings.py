"""Shared recordings: recordings that a published split divides.

An official split is followed as published, also where clips of one recording are in
two of its splits: another split would give results that nobody can compare. Such
recordings are counted and named, and can be excluded from training and validation. A
split that is drawn here never divides a recording.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from asc_tf.manifest import DROPPED, SPLITS, Clip, find_divided_recordings

MAX_NAMED = 5
"""Most recordings that the note names."""

SharedRecordings = Mapping[str, tuple[str, ...]]
"""Splits of each recording that a published split divides."""


def find_shared(clips: Sequence[Clip], published: Collection[str]) -> SharedRecordings:
    """Find the recordings that the published split divides.

    Args:
        clips: All rows, each with its split.
        published: Splits that the corpus's authors made. The others were drawn here,
            from the training split.

    Returns:
        Splits of the recordings, by name. A recording that is also divided by the
        drawing is not among them, so that `Manifest.check` refuses it.
    """
    shared = {}
    for name, splits in find_divided_recordings(clips).items():
        sides = {split if split in published else "train" for split in splits}
        if len(sides) == len(splits):
            shared[name] = splits
    return shared


def drop_shared(clips: Sequence[Clip], shared: SharedRecordings) -> tuple[Clip, ...]:
    """Exclude the training and validation clips of shared recordings.

    A training clip is excluded if its recording is also in the validation or the test
    split, a validation clip if it is also in the test split. Test clips stay.

    Returns:
        All rows, the excluded ones with a reason.
    """

    def exclude(clip: Clip) -> Clip:
        last = _find_splits(clip, shared)[-1:]
        if not last or clip.split == last[0]:
            return clip
        return dataclasses.replace(clip, reason=f"{DROPPED}{last[0]} split")

    return tuple(exclude(clip) for clip in clips)


def describe_shared(
    clips: Sequence[Clip], shared: SharedRecordings, directory: Path
) -> dict[str, Any]:
    """Count shared recordings and their clips, in the table and among their files.

    Returns:
        Entry of protocol.json: `clips` and `recordings` in the table, `clips_present`
        and `recordings_present` of recordings that are still shared among the existing
        files, `left_out`, and `names`, the splits by recording; empty if none is
        shared.
    """
    if not shared:
        return {}
    own = [clip for clip in clips if _find_splits(clip, shared)]
    files = [clip for clip in own if (directory / clip.path).is_file()]
    still_shared = find_divided_recordings(files)
    present = [clip for clip in files if _find_splits(clip, still_shared)]
    return {
        "clips": len(own),
        "recordings": len({clip.identifier for clip in own}),
        "clips_present": len(present),
        "recordings_present": len({clip.identifier for clip in present}),
        "left_out": sum(clip.is_dropped for clip in own),
        "names": {name: list(splits) for name, splits in shared.items()},
    }


def format_shared(protocol: Mapping[str, Any]) -> str:
    """Format the result of `describe_shared` as a sentence; empty if none is shared."""
    if not (shared := protocol.get("shared_recordings")):
        return ""
    whose = "the table's" if protocol.get("corpus") == "csv" else "official"
    total = _format_count(shared["clips"], shared["recordings"])
    present = _format_count(shared["clips_present"], shared["recordings_present"])
    names = list(shared["names"].items())
    named = ", ".join(f"{name} in {' and '.join(s)}" for name, s in names[:MAX_NAMED])
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    among = ""
    if present != total:
        has_some = shared["clips_present"] > 0
        among = f"; {present if has_some else 'none'} among the files that are there"
    left_out = shared["left_out"]
    remedy = (
        f"{left_out} of these clips are left out of training and validation"
        if left_out
        else "dataset.drop_shared_recordings=true leaves these clips out of training "
        "and validation"
    )
    return f"{whose} split; {total} are on both sides ({named}{more}){among}; {remedy}"


def _find_splits(clip: Clip, shared: SharedRecordings) -> tuple[str, ...]:
    """Find the splits of a clip's shared recording; none if it is not shared."""
    splits = {*shared.get(clip.identifier, ()), *shared.get(clip.path, ())}
    return tuple(sorted(splits, key=SPLITS.index))


def _format_count(clips: int, recordings: int) -> str:
    return (
        f"{clips} clip{'s' * (clips != 1)} of {recordings} "
        f"recording{'s' * (recordings != 1)}"
    )
