"""Options of every `tf.data` pipeline that the package iterates over."""

import tensorflow as tf

from asc_tf.core.processors import count_processors

AUTOTUNE = tf.data.AUTOTUNE
"""Parallel calls of a `map`: one for each thread of the pipeline, at most 16."""

plain_python = tf.autograph.experimental.do_not_convert
"""Decorator of a function that a dataset maps: AutoGraph does not rewrite it.

No function here has an `if` or a loop over tensors, so that tracing takes less time and
gives the same graph. The functions that it calls are not rewritten either.
"""

THREADS_PER_PROCESSOR = 2
"""Threads of a pipeline for each processor: a thread that decodes a file or waits for
the segments of its batch leaves the processor to another one."""


def set_options(source: tf.data.Dataset) -> tf.data.Dataset:
    """Return a source of data with the options of the package.

    The options apply to every dataset that is derived from this source. They do not
    apply to an outer dataset whose `flat_map` returns it.

    Autotuning is off, because it delays the end of every second iterator by up to a
    minute: that end waits for the thread of autotuning, which sleeps ever longer and
    misses the signal to stop (TensorFlow 2.17 and 2.21).

    Each operation runs in one thread of a pool of its own. Clips are computed in
    parallel, which is faster than to share each operation among the processors;
    `benchmarks/frontend.py` compares the two.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.max_intra_op_parallelism = 1
    options.threading.private_threadpool_size = (
        THREADS_PER_PROCESSOR * count_processors()
    )
    return source.with_options(options)
