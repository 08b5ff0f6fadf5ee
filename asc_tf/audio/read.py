"""Decoding of single files outside of a pipeline, for predictions and the cache."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from asc_tf.audio import sndfile
from asc_tf.audio.decode import decode_channels
from asc_tf.audio.inspect import inspect
from asc_tf.config import Audio
from asc_tf.core.errors import UserError


def read(path: Path | str, audio: Audio) -> tuple[np.ndarray, int]:
    """Inspect and decode an untrusted file.

    Returns:
        float32 `[samples, channels]`, and the sample rate in Hz.

    Raises:
        UserError: Naming the file and what is wrong with it.
    """
    inspection = inspect(path, audio.max_seconds, audio.decoder)
    if inspection.refusal:
        raise UserError(f"{path}: {inspection.refusal}")
    whole = (0.0, 0.0)
    return read_channels(
        Path(path), inspection.route, inspection.sample_rate, whole, audio
    )


def read_channels(
    path: Path, route: str, sample_rate: int, span: tuple[float, float], audio: Audio
) -> tuple[np.ndarray, int]:
    """Decode a clip of a file that has been inspected.

    Args:
        path: Path of the file.
        route: Name of its decoder.
        sample_rate: Sample rate of the file in Hz.
        span: Start and duration of the clip in seconds; a duration of 0 means up to the
            end of the file.
        audio: Audio settings.

    Returns:
        float32 `[samples, channels]`, and the sample rate in Hz.

    Raises:
        UserError: Naming the file, if it has changed since its inspection.
    """
    try:
        if route == sndfile.ROUTE:
            return sndfile.read(path, span, audio.max_seconds)
        decode = _make_decoder(route, audio.max_seconds)
        # As bytes, because a file name need not be UTF-8.
        return decode(os.fsencode(path), sample_rate, span).numpy(), sample_rate
    except (tf.errors.OpError, OSError, sndfile.RefusedError) as error:
        reason = getattr(error, "message", str(error)).split("\n")[0]
        raise UserError(f"{path}: cannot be decoded: {reason}") from error


@functools.lru_cache(maxsize=16)
def _make_decoder(route: str, max_seconds: float) -> Callable[..., tf.Tensor]:
    audio = Audio(max_seconds=max_seconds)
    text, number = tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)

    signature = [text, number, tf.TensorSpec([2], tf.float64)]

    @tf.function(input_signature=signature, autograph=False)
    def decode(path: tf.Tensor, sample_rate: tf.Tensor, span: tf.Tensor) -> tf.Tensor:
        contents = tf.io.read_file(path)
        return decode_channels(contents, route, sample_rate, span, audio)

    return decode
