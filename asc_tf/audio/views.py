"""Channels in the graph: the views of a file that a model gets."""

import tensorflow as tf


def select_view(waveform: tf.Tensor, name: str) -> tf.Tensor:
    """Compute one view of `[samples, channels]`, as `dsp.channels.select_view` does.

    It is float32 `[samples]` or `[samples, 2]`.
    """
    if name == "mono":
        # Transposed, because the mean along the short axis takes twice the time.
        return tf.reduce_mean(tf.transpose(waveform), axis=0)
    left = waveform[:, 0]
    right = waveform[:, tf.minimum(tf.shape(waveform)[1] - 1, 1)]
    if name == "left":
        return left
    if name == "right":
        return right
    if name == "stereo":
        return tf.stack([left, right], axis=1)
    return tf.stack([(left + right) / 2, (left - right) / 2], axis=1)
