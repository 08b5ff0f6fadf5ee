"""One file to one waveform, for predicting; training goes through `asc_tf.pipeline`."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from asc_tf.audio.decode import decode_clip
from asc_tf.audio.inspect import inspect
from asc_tf.config import Audio
from asc_tf.errors import UserError


def read(path: Path | str, audio: Audio) -> np.ndarray:
    """Decode a file that may hold anything, after reading it through.

    Args:
        path: The file.
        audio: The audio settings.

    Returns:
        float32 `[samples]`, mono, at `audio.sample_rate`.

    Raises:
        UserError: Naming the file and what is wrong with it.
    """
    found = inspect(path, audio.max_seconds)
    if found.refusal:
        raise UserError(f"{path}: {found.refusal}")
    decode = _decoder(found.route, audio)
    # As bytes, because a name need not be UTF-8.
    try:
        return decode(os.fsencode(path), found.sample_rate).numpy()
    except tf.errors.OpError as error:
        reason = error.message.split("\n")[0]
        raise UserError(f"{path}: cannot be decoded: {reason}") from error


@functools.lru_cache(maxsize=16)
def _decoder(route: str, audio: Audio) -> Callable[[bytes, int], tf.Tensor]:
    whole = tf.zeros([2], tf.float64)

    @tf.function(
        input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)]
    )
    def decode(path: tf.Tensor, sample_rate: tf.Tensor) -> tf.Tensor:
        contents = tf.io.read_file(path)
        return decode_clip(
            contents, tf.constant(route), sample_rate, whole, audio, [route]
        )

    return decode
