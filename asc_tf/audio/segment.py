"""Waveforms to fixed-length segments, in the graph; the law is `asc_tf.segments`."""

import tensorflow as tf


def all_segments(waveform: tf.Tensor, length: int, hop: int) -> tf.Tensor:
    """Cut waveforms into all their segments.

    Args:
        waveform: float32 `[..., samples]`.
        length: Samples in a segment.
        hop: Samples between the starts of neighbouring segments.

    Returns:
        float32 `[..., segments, length]`.
    """
    samples = tf.shape(waveform)[-1]
    last = tf.maximum(samples - length, 0)
    starts = tf.minimum(tf.range(-(-last // hop) + 1) * hop, last)
    rank = waveform.shape.rank
    padding = [[0, 0]] * (rank - 1) + [[0, tf.maximum(length - samples, 0)]]
    padded = tf.pad(waveform, padding)
    return tf.gather(padded, starts[:, tf.newaxis] + tf.range(length), axis=-1)


def random_segment(waveform: tf.Tensor, length: int, seed: tf.Tensor) -> tf.Tensor:
    """Crop a waveform at a random place, or pad it with zeros at a random offset.

    Args:
        waveform: float32 `[samples]`.
        length: Samples in a segment.
        seed: int64 `[2]`; the same seed gives the same segment.

    Returns:
        float32 `[length]`.
    """
    slack = tf.size(waveform) - length
    offset = tf.random.stateless_uniform(
        [], seed, minval=0, maxval=tf.abs(slack) + 1, dtype=tf.int32
    )
    start, before = tf.where(slack > 0, offset, 0), tf.where(slack < 0, offset, 0)
    cropped = waveform[start : start + length]
    after = length - before - tf.size(cropped)
    return tf.ensure_shape(tf.pad(cropped, [[before, after]]), [length])
