"""Representative data for quantization: segments drawn evenly over class and device."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from asc_tf.dsp import channels
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.manifest import Clip, pick_evenly
from asc_tf.pipeline.evaluation_data import load_waveforms, scan_splits
from asc_tf.pipeline.feature_size import count_segments
from asc_tf.pipeline.run import Run

MONO_SEGMENTS = 8
"""Segments that a model of two channels also gets with both channels alike."""

TRIED_SEGMENTS = 2
"""Segments on which each new file is tried."""

CHECK_SEGMENTS = 128
"""Segments of the split of the checks on which `export.ranges = auto` is decided."""


def draw_calibration_segments(run: Run, count: int) -> np.ndarray:
    """Draw segments of the training split, evenly over its classes and devices.

    Returns:
        float32 `[n, segment_samples]`, or `[n, segment_samples, 2]`.
    """
    found = draw_segments(scan_splits(run, "train"), "train", count)
    if found[0].ndim == 2:
        # A model of two channels will meet mono files too.
        found += [
            _as_mono(segment, run.config.audio.channels)
            for segment in pick_evenly(found, MONO_SEGMENTS)
        ]
    return np.stack(found)


def draw_segments(run: Run, split: str, count: int) -> list[np.ndarray]:
    """Draw segments of a split, evenly over the cells of class and device.

    A cell that has fewer segments leaves its share to the others. The same clips give
    the same segments.

    Args:
        run: The run, with the clips of the split scanned.
        split: Split to draw from.
        count: Number of segments; a small split gives fewer.

    Returns:
        Segments, float32 `[segment_samples]` or `[segment_samples, 2]`.
    """
    from asc_tf.pipeline.segments import make_segment_batches
    from asc_tf.pipeline.waveforms import explain_read_errors

    config, all_clips = run.config, run.manifest.clips_in(split)
    preprocessing = Preprocessing.from_config(config.audio, config.evaluate)
    shares = share_evenly(all_clips, count, preprocessing)
    clips = tuple(all_clips[position] for position in shares)
    run = run.with_manifest(dataclasses.replace(run.manifest, clips=clips))
    waveforms = load_waveforms(run, split)
    batches = make_segment_batches(waveforms, preprocessing, config.evaluate.batch_size)
    with explain_read_errors():
        groups = _group_by_clip(batches.as_numpy_iterator())
        return [
            segment
            for share, segments_of_clip in zip(shares.values(), groups, strict=True)
            for segment in pick_evenly(segments_of_clip, share)
        ]


def share_evenly(
    clips: Sequence[Clip], count: int, preprocessing: Preprocessing
) -> dict[int, int]:
    """Choose how many segments each clip gives, the same for all classes and devices.

    Returns:
        Number of segments by the position of the clip, in the order of the clips and
        without those that give none.
    """
    sizes = [count_segments(clip, preprocessing) for clip in clips]
    cells: dict[tuple[str, str], list[int]] = {}
    for position, clip in enumerate(clips):
        cells.setdefault((clip.label, clip.device), []).append(position)
    room = {key: sum(sizes[each] for each in cell) for key, cell in cells.items()}
    shares: dict[int, int] = {}
    for key, wanted in _fill(room, count).items():
        shares |= _fill({each: sizes[each] for each in cells[key]}, wanted)
    return {place: shares[place] for place in sorted(shares) if shares[place]}


def _fill(room: Mapping[Any, int], count: int) -> dict[Any, int]:
    """Spread a count evenly over places that have room for so many each."""
    filled = dict.fromkeys(room, 0)
    left = min(count, sum(room.values()))
    while left:
        free = [key for key in room if filled[key] < room[key]]
        # Fewer than places: those that get one are spread over the places.
        chosen = free if left >= len(free) else pick_evenly(free, left)
        each = max(left // len(free), 1)
        for key in chosen:
            more = min(each, room[key] - filled[key])
            filled[key] += more
            left -= more
    return filled


def _group_by_clip(
    batches: Iterable[dict[str, np.ndarray]],
) -> Iterator[list[np.ndarray]]:
    """Yield the segments of each clip; those of one clip follow each other."""
    rows = (
        pair
        for batch in batches
        for pair in zip(batch["clip"], batch["waveform"], strict=True)
    )
    for _, group in itertools.groupby(rows, key=lambda row: int(row[0])):
        # Copied, because a view would keep its whole batch in memory.
        yield [segment.copy() for _, segment in group]


def _as_mono(segment: np.ndarray, setting: str) -> np.ndarray:
    """Return a segment of two channels as a file with both channels alike gives it."""
    mono = segment[:, 0] if setting == "mid_side" else segment.mean(axis=1)
    return channels.select_view(mono[:, np.newaxis], setting)
