"""The law of segments, stated once: where they start, and how they pool to clips.

The graph (`asc_tf.audio`) and the edge follow this law; tests hold them to it.
"""

import sys
from collections.abc import Iterable, Iterator

import numpy as np

from asc_tf.core.errors import UserError

SMALLEST = 1e-12
"""Probabilities are at least this before their logarithm is taken."""


def starts(
    samples: int,
    length: int,
    hop: int,
    which: str = "all",
    last_segment: str = "align",
) -> np.ndarray:
    """First sample of each segment of a clip.

    A clip up to one segment long is one segment. In a longer clip a segment starts
    every `hop` samples, and nothing is padded.

    Args:
        samples: Length of the clip.
        length: Length of a segment.
        hop: Step between segments, at least 1.
        which: `all`, or `centre` for the one in the middle.
        last_segment: What happens to samples behind the last of these segments:
            `align` adds a segment that ends where the clip ends, `drop` leaves them
            out.

    Returns:
        int64 `[segments]`, rising.
    """
    last = max(samples - length, 0)
    if which == "centre":
        return np.array([last // 2], dtype=np.int64)
    steps = last // hop if last_segment == "drop" else -(-last // hop)
    count = steps + 1
    return np.minimum(np.arange(count, dtype=np.int64) * hop, last)


def filled(waveform: np.ndarray, length: int, short_clips: str = "pad") -> np.ndarray:
    """A waveform of at least `length` samples.

    Args:
        waveform: float32 `[samples, ...]`.
        length: Samples wanted.
        short_clips: `pad` adds zeros at the end of a shorter one, `loop` repeats it.

    Returns:
        float32 `[max(samples, length), ...]`.
    """
    missing = length - len(waveform)
    if missing <= 0:
        return waveform
    if short_clips == "loop" and len(waveform):
        return waveform[np.arange(length) % len(waveform)]
    return np.pad(waveform, [(0, missing)] + [(0, 0)] * (waveform.ndim - 1))


def cut(
    waveform: np.ndarray,
    length: int,
    hop: int,
    which: str = "all",
    short_clips: str = "pad",
    last_segment: str = "align",
) -> Iterator[np.ndarray]:
    """The segments of a waveform, one at a time; see `cut_blocks`."""
    samples = len(waveform)
    return cut_blocks(
        [waveform], samples, length, hop, which, short_clips, last_segment
    )


def cut_blocks(
    blocks: Iterable[np.ndarray],
    samples: int | None,
    length: int,
    hop: int,
    which: str = "all",
    short_clips: str = "pad",
    last_segment: str = "align",
) -> Iterator[np.ndarray]:
    """The segments of a waveform that comes in blocks, one at a time.

    Memory holds a segment and a block.

    Args:
        blocks: The waveform, float32 `[samples, ...]` each; all of them are taken.
        samples: Length of the waveform; needed where `which` is `centre`.
        length: Samples in a segment.
        hop: Samples between the starts of neighbouring segments.
        which: As in `starts`.
        short_clips: As in `filled`.
        last_segment: As in `starts`.

    Yields:
        float32 `[length, ...]`.

    Raises:
        UserError: If the blocks have not `samples` samples.
    """
    start, step = 0, hop
    if which == "centre":
        start, step = max((samples or 0) - length, 0) // 2, sys.maxsize
    held: list[np.ndarray] = []  # the samples from `begin` to `end`
    begin = end = taken = 0
    for block in blocks:
        held.append(block)
        end += len(block)
        if end >= start + length:
            held = [np.concatenate(held)]
        while end >= start + length:
            yield held[0][start - begin : start - begin + length]
            taken, start = taken + 1, start + step
        # A segment that is aligned with the end may begin before the next one.
        needed = min(start, end - length)
        while held and begin + len(held[0]) <= needed:
            begin += len(held.pop(0))
        if begin < needed:
            held[0], begin = held[0][needed - begin :], needed
    if samples is not None and samples != end:
        raise UserError("changed while it was read; try again")
    if not taken:
        yield filled(np.concatenate(held), length, short_clips)
    elif which == "all" and last_segment == "align" and start - hop < end - length:
        yield np.concatenate(held)[end - length - begin :]


def pool(
    probabilities: np.ndarray, clip_ids: np.ndarray, clips: int, pooling: str = "mean"
) -> np.ndarray:
    """Segment probabilities to clip probabilities.

    Args:
        probabilities: `[segments, labels]`.
        clip_ids: int `[segments]`, the clip of each segment.
        clips: Number of clips; each has at least one segment.
        pooling: `mean`; `mean_log`, the mean of the logarithms (a geometric mean), its
            sum made 1; or `majority`, the share of segments for which a label is the
            most probable, the mean counting as one segment more, which decides ties. A
            single segment speaks for its clip under each.

    Returns:
        float64 `[clips, labels]`.
    """
    counts = np.bincount(clip_ids, minlength=clips)[:, np.newaxis]
    if pooling == "mean_log":
        logs = _sums(np.log(np.maximum(probabilities, SMALLEST)), clip_ids, clips)
        logs /= counts
        powers = np.exp(logs - logs.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    means = _sums(probabilities, clip_ids, clips) / counts
    if pooling == "majority":
        votes = np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
        voted = (_sums(votes, clip_ids, clips) + means) / (counts + 1)
        return np.where(counts > 1, voted, means)
    return means


def _sums(values: np.ndarray, clip_ids: np.ndarray, clips: int) -> np.ndarray:
    sums = np.zeros((clips, values.shape[1]))
    np.add.at(sums, clip_ids, values)
    return sums
