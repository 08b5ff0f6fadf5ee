"""Reference segmentation and pooling in NumPy.

Tests compare the graph (`asc_tf.audio.segment`) with this module.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from asc_tf.core.errors import UserError

SMALLEST = 1e-12
"""Lower bound of a probability before its logarithm is taken."""


def find_starts(
    samples: int,
    length: int,
    hop: int,
    which: str = "all",
    last_segment: str = "align",
) -> np.ndarray:
    """Find the first sample of each segment of a clip.

    A clip up to one segment long is one segment. In a longer clip a segment starts
    every `hop` samples, and nothing is padded.

    Args:
        samples: Samples in the clip.
        length: Samples in a segment.
        hop: Samples between the starts of neighbouring segments, at least 1.
        which: `all`, or `centre` for the one in the middle.
        last_segment: Treatment of samples after the last of these segments: `align`
            adds a segment that ends where the clip ends, `drop` leaves them out.

    Returns:
        int64 `[segments]`, rising.
    """
    last = max(samples - length, 0)
    if which == "centre":
        return np.array([last // 2], dtype=np.int64)
    steps = last // hop if last_segment == "drop" else -(-last // hop)
    count = steps + 1
    return np.minimum(np.arange(count, dtype=np.int64) * hop, last)


def pad_or_loop(waveform: np.ndarray, length: int, short_clips: str) -> np.ndarray:
    """Extend a waveform that is shorter than `length` samples.

    Args:
        waveform: float32 `[samples, ...]`.
        length: Smallest number of samples of the result.
        short_clips: `pad` adds zeros at the end, `loop` repeats the waveform.

    Returns:
        float32 `[max(samples, length), ...]`.
    """
    missing = length - len(waveform)
    if missing <= 0:
        return waveform
    if short_clips == "loop" and len(waveform):
        return waveform[np.arange(length) % len(waveform)]
    return np.pad(waveform, [(0, missing)] + [(0, 0)] * (waveform.ndim - 1))


class Segment(NamedTuple):
    """Segment of a waveform.

    Attributes:
        waveform: float32 `[length, ...]`.
        start: First sample in the waveform that was cut.
        end: Sample after the last one; a padded segment ends before its zeros.
    """

    waveform: np.ndarray
    start: int
    end: int


def cut_blocks(
    blocks: Iterable[np.ndarray],
    samples: int | None,
    length: int,
    hop: int,
    which: str,
    short_clips: str,
    last_segment: str,
) -> Iterator[Segment]:
    """Cut a waveform that comes in blocks into its segments.

    Memory holds one segment and one block.

    Args:
        blocks: Blocks of the waveform, float32 `[samples, ...]` each; all are read.
        samples: Samples in the waveform; needed where `which` is `centre`.
        length: Samples in a segment.
        hop: Samples between the starts of neighbouring segments.
        which: As in `find_starts`.
        short_clips: As in `pad_or_loop`.
        last_segment: As in `find_starts`.

    Yields:
        The segments, in the order of their starts.

    Raises:
        UserError: If the blocks do not have `samples` samples in all.
    """
    start, step = 0, hop
    if which == "centre":
        start, step = max((samples or 0) - length, 0) // 2, sys.maxsize
    pending: list[np.ndarray] = []  # the samples from `begin` to `end`
    begin = end = count = 0
    for block in blocks:
        pending.append(block)
        end += len(block)
        if end >= start + length:
            pending = [np.concatenate(pending)]
        while end >= start + length:
            waveform = pending[0][start - begin : start - begin + length]
            yield Segment(waveform, start, start + length)
            count, start = count + 1, start + step
        # A segment that is aligned with the end may begin before the next one.
        needed = min(start, end - length)
        while pending and begin + len(pending[0]) <= needed:
            begin += len(pending.pop(0))
        if begin < needed:
            pending[0], begin = pending[0][needed - begin :], needed
    if samples is not None and samples != end:
        raise UserError("changed while it was read; try again")
    if not count:
        waveform = pad_or_loop(np.concatenate(pending), length, short_clips)
        yield Segment(waveform, 0, end)
    elif which == "all" and last_segment == "align" and start - hop < end - length:
        last = end - length
        yield Segment(np.concatenate(pending)[last - begin :], last, end)


def pool(
    probabilities: np.ndarray, clip_ids: np.ndarray, clips: int, pooling: str = "mean"
) -> np.ndarray:
    """Pool segment probabilities to clip probabilities.

    Args:
        probabilities: Probabilities of the segments, `[segments, labels]`.
        clip_ids: Index of the clip of each segment, int `[segments]`.
        clips: Number of clips; each has at least one segment.
        pooling: `mean`; `mean_log`, the geometric mean, scaled to the sum 1; or
            `majority`, the share of segments for which a label is the most probable,
            where the mean counts as one more segment and so decides ties. The
            probabilities of a single segment do not change.

    Returns:
        float64 `[clips, labels]`.
    """
    counts = np.bincount(clip_ids, minlength=clips)[:, np.newaxis]
    if pooling == "mean_log":
        logs = _sum_by_clip(
            np.log(np.maximum(probabilities, SMALLEST)), clip_ids, clips
        )
        logs /= counts
        powers = np.exp(logs - logs.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    means = _sum_by_clip(probabilities, clip_ids, clips) / counts
    if pooling == "majority":
        votes = np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
        voted = (_sum_by_clip(votes, clip_ids, clips) + means) / (counts + 1)
        return np.where(counts > 1, voted, means)
    return means


def _sum_by_clip(values: np.ndarray, clip_ids: np.ndarray, clips: int) -> np.ndarray:
    sums = np.zeros((clips, values.shape[1]))
    np.add.at(sums, clip_ids, values)
    return sums
