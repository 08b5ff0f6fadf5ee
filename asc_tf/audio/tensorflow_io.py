"""Whether tensorflow-io is there: it loads on TensorFlow 2.16 and 2.17 only."""

import functools
from typing import Any

import tensorflow as tf


@functools.lru_cache(maxsize=1)
def load_tensorflow_io() -> Any:
    """The module; None where it is missing, or its libraries do not load."""
    try:
        import tensorflow_io as module

        # Only this loads its libraries.
        assert module.audio.decode_vorbis
    except (ImportError, AttributeError, NotImplementedError, tf.errors.OpError):
        return None
    return module
