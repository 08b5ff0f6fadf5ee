"""Optional import of tensorflow-io, which loads on TensorFlow 2.16 and 2.17 only."""

import functools
from typing import Any

import tensorflow as tf


@functools.lru_cache(maxsize=1)
def load_tensorflow_io() -> Any:
    """Import tensorflow-io; None if it is missing, or its libraries do not load."""
    try:
        import tensorflow_io as module

        # Its libraries are loaded by the first access.
        assert module.audio.decode_vorbis
    except (ImportError, AttributeError, NotImplementedError, tf.errors.OpError):
        return None
    return module
