"""Representative data for quantization: segments of the training split."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from asc_tf.dsp import channels
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.manifest import pick_evenly
from asc_tf.pipeline.evaluation_data import load_waveforms, scan_splits
from asc_tf.pipeline.run import Run

MONO_SEGMENTS = 8
"""Segments that a model of two channels also gets with both channels alike."""


def draw_calibration_segments(run: Run) -> np.ndarray:
    """Draw segments of the training split, spread evenly over its clips.

    Args:
        run: The run; `export.calibration_segments` is the number of segments.

    Returns:
        float32 `[n, segment_samples]`, or `[n, segment_samples, 2]`.
    """
    from asc_tf.pipeline.segments import make_segment_batches
    from asc_tf.pipeline.waveforms import explain_read_errors

    config = run.config
    count = config.export.calibration_segments
    run = scan_splits(run, "train")
    clips = tuple(pick_evenly(run.manifest.clips_in("train"), count))
    run = run.with_manifest(dataclasses.replace(run.manifest, clips=clips))
    waveforms = load_waveforms(run, "train")
    preprocessing = Preprocessing.from_config(config.audio, config.evaluate)
    batches = make_segment_batches(waveforms, preprocessing, config.evaluate.batch_size)
    share = -(-count // len(clips))
    with explain_read_errors():
        segments = [
            segment
            for segments_of_clip in _group_by_clip(batches.as_numpy_iterator())
            for segment in pick_evenly(segments_of_clip, share)
        ][:count]
    if segments[0].ndim == 2:
        # A model of two channels will meet mono files too.
        segments += [
            _as_mono(segment, config.audio.channels)
            for segment in pick_evenly(segments, MONO_SEGMENTS)
        ]
    return np.stack(segments)


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
