"""Options of every `tf.data` pipeline that the package iterates over."""

import tensorflow as tf

AUTOTUNE = tf.data.AUTOTUNE
"""Parallel calls of a `map`: one for each thread of the pipeline, at most 16."""


def set_options(source: tf.data.Dataset) -> tf.data.Dataset:
    """Return a source of data with the options of the package.

    The options apply to every dataset that is derived from this source. They do not
    apply to an outer dataset whose `flat_map` returns it.

    Autotuning is off, because it delays the end of every second iterator by up to a
    minute: that end waits for the thread of autotuning, which sleeps ever longer and
    misses the signal to stop (TensorFlow 2.17 and 2.21).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return source.with_options(options)
