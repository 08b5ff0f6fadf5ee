"""The law of segments, stated once: where they start, and how they pool to clips.

The graph (`asc_tf.audio`) and the edge follow this law; tests hold them to it.
"""

import numpy as np


def starts(samples: int, length: int, hop: int) -> np.ndarray:
    """First sample of each segment of a clip.

    A clip up to one segment long is one segment, padded with zeros at its end. In a
    longer clip a segment starts every `hop` samples; when the last of them does not
    reach the clip's end, one more is added that ends there, so that every sample is
    seen and nothing is padded.

    Args:
        samples: Length of the clip.
        length: Length of a segment.
        hop: Step between segments, at least 1.

    Returns:
        int64 `[segments]`, rising.
    """
    last = max(samples - length, 0)
    count = -(-last // hop) + 1
    return np.minimum(np.arange(count, dtype=np.int64) * hop, last)


def split(waveform: np.ndarray, length: int, hop: int) -> np.ndarray:
    """Cut a waveform into its segments.

    Args:
        waveform: float32 `[samples]`.
        length: Samples in a segment.
        hop: Samples between the starts of neighbouring segments.

    Returns:
        float32 `[segments, length]`.
    """
    padded = np.pad(waveform, (0, max(length - len(waveform), 0)))
    return np.stack(
        [padded[s : s + length] for s in starts(len(waveform), length, hop)]
    )


def pool(probabilities: np.ndarray, clip_ids: np.ndarray, clips: int) -> np.ndarray:
    """Mean of the segments' probabilities for each clip.

    Args:
        probabilities: `[segments, labels]`.
        clip_ids: int `[segments]`, the clip of each segment.
        clips: Number of clips; each has at least one segment.

    Returns:
        float64 `[clips, labels]`.
    """
    sums = np.zeros((clips, probabilities.shape[1]))
    np.add.at(sums, clip_ids, probabilities)
    return sums / np.bincount(clip_ids, minlength=clips)[:, np.newaxis]
