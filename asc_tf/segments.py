"""The law of segments, stated once: where they start, and how they pool to clips.

The graph (`asc_tf.audio`) and the edge follow this law; tests hold them to it.
"""

from collections.abc import Iterator

import numpy as np

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
    """The segments of a waveform, one at a time.

    Args:
        waveform: float32 `[samples, ...]`.
        length: Samples in a segment.
        hop: Samples between the starts of neighbouring segments.
        which: As in `starts`.
        short_clips: As in `filled`.
        last_segment: As in `starts`.

    Yields:
        float32 `[length, ...]`.
    """
    places = starts(len(waveform), length, hop, which, last_segment)
    whole = filled(waveform, length, short_clips)
    for start in places:
        yield whole[start : start + length]


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
