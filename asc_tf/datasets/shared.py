"""Recordings that a published split has on both sides.

An official split is followed as published, also where clips of one recording stand in
two of its splits: another split would give results that nobody can compare. Such
recordings are counted and named, and can be left out of training and validation. A
split that is drawn here never divides a recording.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from asc_tf.manifest import DROPPED, SPLITS, Clip, find_divided_recordings

MAX_NAMED = 5
"""Recordings that the note names."""

SharedRecordings = Mapping[str, tuple[str, ...]]
"""The splits of each recording that a published split divides."""


def find_shared(clips: Sequence[Clip], published: Collection[str]) -> SharedRecordings:
    """Find the recordings that the published split divides.

    Args:
        clips: All rows, each with its split.
        published: The splits that the corpus's authors made. The others were drawn
            here, from the training part.

    Returns:
        Their splits, by name. A recording that is divided by the drawing too is not
        among them, so that `Manifest.check` refuses it.
    """
    shared = {}
    for name, splits in find_divided_recordings(clips).items():
        sides = {split if split in published else "train" for split in splits}
        if len(sides) == len(splits):
            shared[name] = splits
    return shared


def drop_shared(clips: Sequence[Clip], shared: SharedRecordings) -> tuple[Clip, ...]:
    """Leave out the training and validation clips of shared recordings.

    A training clip goes if its recording is also in the validation or the test part,
    a validation clip if it is also in the test part. Test clips stay.

    Returns:
        All rows, those left out with a reason.
    """

    def checked(clip: Clip) -> Clip:
        last = _splits_of(clip, shared)[-1:]
        if not last or clip.split == last[0]:
            return clip
        return dataclasses.replace(clip, reason=f"{DROPPED}{last[0]} part")

    return tuple(checked(clip) for clip in clips)


def describe_shared(
    clips: Sequence[Clip], shared: SharedRecordings, directory: Path
) -> dict[str, Any]:
    """Count shared recordings and their clips, in the table and among the files.

    Args:
        clips: All rows.
        shared: The shared recordings.
        directory: The corpus folder; only files of these recordings are looked for.

    Returns:
        For protocol.json: `clips` and `recordings` in the table, `clips_present` and
        `recordings_present` of those that are on both sides with files that are there,
        `left_out` and the splits by recording as `names`; empty if none is shared.
    """
    if not shared:
        return {}
    mine = [clip for clip in clips if _splits_of(clip, shared)]
    present = [clip for clip in mine if (directory / clip.path).is_file()]
    still = find_divided_recordings(present)
    return {
        "clips": len(mine),
        "recordings": len(_recordings(mine)),
        "clips_present": sum(bool(_splits_of(clip, still)) for clip in present),
        "recordings_present": len(
            _recordings([clip for clip in present if _splits_of(clip, still)])
        ),
        "left_out": sum(clip.is_dropped for clip in mine),
        "names": {name: list(splits) for name, splits in shared.items()},
    }


def shared_note(protocol: Mapping[str, Any]) -> str:
    """Say in a sentence what `describe_shared` has counted; empty if there is none."""
    if not (shared := protocol.get("shared_recordings")):
        return ""
    whose = "the table's" if protocol.get("corpus") == "csv" else "official"
    total = _count(shared["clips"], shared["recordings"])
    present = _count(shared["clips_present"], shared["recordings_present"])
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


def _splits_of(clip: Clip, shared: SharedRecordings) -> tuple[str, ...]:
    """The splits of a clip's shared recording; none if it is not shared."""
    found = {*shared.get(clip.identifier, ()), *shared.get(clip.path, ())}
    return tuple(sorted(found, key=SPLITS.index))


def _recordings(clips: Sequence[Clip]) -> set[str]:
    return {clip.identifier for clip in clips}


def _count(clips: int, recordings: int) -> str:
    return (
        f"{clips} clip{'s' * (clips != 1)} of {recordings} "
        f"recording{'s' * (recordings != 1)}"
    )
