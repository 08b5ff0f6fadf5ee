"""Options of every `tf.data` pipeline that the package iterates over."""

import tensorflow as tf

AUTOTUNE = tf.data.AUTOTUNE
"""Parallelism of a `map`: as many calls as the pipeline has threads."""


def set_options(source: tf.data.Dataset) -> tf.data.Dataset:
    """Return a source of data with the options of the package.

    The options hold for everything that is built on the source, but not for a pipeline
    that contains it, as that of a `flat_map` does.

    Autotuning is off, because it delays the end of every second iterator by up to a
    minute: that end waits for the thread of autotuning, which sleeps ever longer and
    misses the signal to stop (TensorFlow 2.17 and 2.21).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return source.with_options(options)
