"""`asc_tf.resampling` as a graph, for rates that are known only when it runs."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from asc_tf import resampling


class _Plan(NamedTuple):
    """`resampling.Plan` as int64 scalars, with `scale` as float64."""

    down: tf.Tensor
    up: tf.Tensor
    scale: tf.Tensor
    half: tf.Tensor
    width: tf.Tensor


def resample(waveform: tf.Tensor, rate_in: tf.Tensor | int, rate_out: int) -> tf.Tensor:
    """Resample a waveform by the filter of `asc_tf.resampling`.

    Args:
        waveform: float32 `[samples]`.
        rate_in: Its rate, Hz, integer `[]`, at least 1.
        rate_out: The rate wanted, Hz.

    Returns:
        float32 `[ceil(samples * rate_out / rate_in)]`.
    """
    rate_in = tf.cast(rate_in, tf.int64)
    samples = tf.size(waveform, out_type=tf.int64)
    return tf.cond(
        (rate_in == rate_out) | (samples == 0),
        lambda: waveform,
        lambda: _resample(waveform, samples, rate_in, np.int64(rate_out)),
    )


def _resample(
    waveform: tf.Tensor, samples: tf.Tensor, rate_in: tf.Tensor, rate_out: np.int64
) -> tf.Tensor:
    rates = _plan(rate_in, rate_out)
    length = -(-samples * rate_out // rate_in)
    output = tf.cond(
        rates.width * rates.up > resampling.MAX_KERNEL_VALUES,
        lambda: _gathered(waveform, rates, length),
        lambda: _convolved(waveform, rates, length),
    )
    return output[:length]


def _plan(rate_in: tf.Tensor, rate_out: np.int64) -> _Plan:
    common, _ = tf.while_loop(
        lambda _, rest: rest > 0,
        lambda value, rest: (rest, value % rest),
        (rate_in, tf.constant(rate_out)),
    )
    repeats = -(-resampling.MIN_BLOCK * common // rate_out)
    down, up = repeats * rate_in // common, repeats * rate_out // common
    scale = tf.minimum(
        tf.constant(1.0, tf.float64),
        tf.cast(up, tf.float64) / tf.cast(down, tf.float64),
    )
    half = tf.cast(tf.math.ceil(resampling.ZERO_CROSSINGS / scale), tf.int64)
    return _Plan(down, up, scale, half, down + 2 * half)


def _weights(distance: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """`resampling.weights`: float64 distances to float32 weights."""
    reach = tf.constant(resampling.ZERO_CROSSINGS, tf.float64)
    position = tf.minimum(tf.abs(distance) * scale, reach) * resampling.STEPS
    index = tf.cast(position, tf.int32)
    share = tf.cast(position - tf.cast(index, tf.float64), tf.float32)
    values = tf.constant(resampling.table())
    mixed = (
        tf.gather(values, index) * (1 - share) + tf.gather(values, index + 1) * share
    )
    return mixed * tf.cast(scale, tf.float32)


def _convolved(waveform: tf.Tensor, rates: _Plan, length: tf.Tensor) -> tf.Tensor:
    """Whole blocks, as `resampling` does it: a few matrix products over rows."""
    blocks, spans = -(-length // rates.up), -(-rates.width // rates.down)
    needed = (blocks + spans - 1) * rates.down
    after = tf.maximum(needed - rates.half - tf.size(waveform, tf.int64), 0)
    padded = tf.pad(waveform, [[rates.half, after]])
    rows = tf.reshape(padded[:needed], [-1, rates.down])
    inputs = tf.range(rates.width)[:, tf.newaxis] - rates.half
    numerator = inputs * rates.up - tf.range(rates.up) * rates.down
    kernel = _weights(
        tf.cast(numerator, tf.float64) / tf.cast(rates.up, tf.float64), rates.scale
    )

    def add(span: tf.Tensor, output: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        part = kernel[span * rates.down : (span + 1) * rates.down]
        own = rows[span : span + blocks, : tf.shape(part, tf.int64)[0]]
        return span + 1, output + tf.linalg.matmul(own, part)

    _, output = tf.while_loop(
        lambda span, _: span < spans,
        add,
        (tf.constant(0, tf.int64), tf.zeros([blocks, rates.up])),
        parallel_iterations=1,
    )
    return tf.reshape(output, [-1])


def _gathered(waveform: tf.Tensor, rates: _Plan, length: tf.Tensor) -> tf.Tensor:
    """Each output from its own window, as many at a time as memory should hold."""
    padded = tf.pad(waveform, [[rates.half, rates.half]])
    offsets = tf.range(2 * rates.half + 1)
    batch = tf.maximum(resampling.MAX_GATHERED_VALUES // tf.size(offsets, tf.int64), 1)

    def outputs(first: tf.Tensor) -> tf.Tensor:
        position = tf.minimum(first + tf.range(batch), length - 1)
        start = position * rates.down // rates.up
        phase = tf.cast(position * rates.down % rates.up, tf.float64)
        distance = (
            tf.cast(offsets - rates.half, tf.float64)
            - (phase / tf.cast(rates.up, tf.float64))[:, tf.newaxis]
        )
        window = tf.gather(padded, start[:, tf.newaxis] + offsets)
        return tf.reduce_sum(window * _weights(distance, rates.scale), axis=1)

    parts = tf.map_fn(
        outputs,
        tf.range(np.int64(0), length, batch),
        fn_output_signature=tf.TensorSpec([None], tf.float32),
        parallel_iterations=1,
    )
    return tf.reshape(parts, [-1])
