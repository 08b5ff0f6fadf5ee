"""Resampling in the graph, for rates known when it is built or when it runs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from asc_tf.dsp import resampling

MAX_CONSTANT_VALUES = 2**22
"""Kernel values of known rates that one graph holds (16 MB)."""


class _Plan(NamedTuple):
    """`resampling.Plan` as int64 scalars, with `scale` as float64."""

    down: tf.Tensor
    up: tf.Tensor
    scale: tf.Tensor
    half: tf.Tensor
    width: tf.Tensor
    spans: tf.Tensor


def resample(
    waveform: tf.Tensor,
    rate_in: tf.Tensor | int,
    rate_out: int,
    known_rates: Sequence[int] = (),
) -> tf.Tensor:
    """Resample a waveform by the filter of `asc_tf.dsp.resampling`.

    Args:
        waveform: float32 `[samples]`.
        rate_in: Its rate, Hz, integer `[]`, at least 1.
        rate_out: The rate wanted, Hz.
        known_rates: Rates that `rate_in` is likely to have, Hz, the likeliest first;
            their kernels become constants of the graph. Any other rate works too: its
            kernel is made anew each time. A `rate_in` that is an `int` is known.

    Returns:
        float32 `[ceil(samples * rate_out / rate_in)]`.
    """
    static = tf.get_static_value(rate_in)
    if static is not None:
        return _known(waveform, int(static), rate_out)
    rate_in = tf.cast(rate_in, tf.int64)
    rates = choose_constant_rates(known_rates, rate_out)
    branches: list[Callable[[], tf.Tensor]] = [
        partial(_known, waveform, rate, rate_out) for rate in rates
    ]
    branches.append(partial(_any, waveform, rate_in, rate_out))
    matches = tf.concat([tf.equal(rate_in, np.array(rates, np.int64)), [True]], axis=0)
    return tf.switch_case(tf.argmax(matches, output_type=tf.int32), branches)


def choose_constant_rates(known_rates: Sequence[int], rate_out: int) -> list[int]:
    """Which rates become constants of the graph.

    Args:
        known_rates: Rates, Hz, the likeliest first.
        rate_out: The rate wanted, Hz.

    Returns:
        Those whose kernels together fit `MAX_CONSTANT_VALUES`, each once.
    """
    chosen, left = [], MAX_CONSTANT_VALUES
    for rate in dict.fromkeys(known_rates):
        size = 0 if rate == rate_out else _kernel_values(rate, rate_out)
        if size <= left:
            chosen.append(rate)
            left -= size
    return chosen


def _kernel_values(rate_in: int, rate_out: int) -> int:
    rates = resampling.plan(rate_in, rate_out)
    if rates.is_awkward:
        return resampling.make_interpolation(rates).kernels.size
    return sum(product.kernel.size for product in resampling.make_products(rates))


def _known(waveform: tf.Tensor, rate_in: int, rate_out: int) -> tf.Tensor:
    """A rate that is known when the graph is built."""
    if rate_in == rate_out:
        return tf.identity(waveform)
    rates = resampling.plan(rate_in, rate_out)
    length = _output_samples(waveform, rate_in, rate_out)
    if rates.is_awkward:
        output = _interpolate_blocks(
            waveform, rates, resampling.make_interpolation(rates), length
        )
    elif len(products := resampling.make_products(rates)) == 1:
        kernel = products[0].kernel
        missing = rates.spans * rates.down - len(kernel)
        output = _multiply_blocks(
            waveform, rates, np.pad(kernel, [(0, missing), (0, 0)])
        )
    else:
        output = _in_groups(waveform, rates)
    return output[:length]


def _any(waveform: tf.Tensor, rate_in: tf.Tensor, rate_out: int) -> tf.Tensor:
    """A rate that is known only when the graph runs."""

    def resampled() -> tf.Tensor:
        rates = _plan(rate_in, np.int64(rate_out))
        length = _output_samples(waveform, rate_in, rate_out)
        output = tf.cond(
            rates.width * rates.up > resampling.MAX_KERNEL_VALUES,
            lambda: _interpolate_blocks(waveform, rates, _drift(rates), length),
            lambda: _multiply_blocks(waveform, rates, _kernel(rates)),
        )
        return output[:length]

    return tf.cond(rate_in == rate_out, lambda: tf.identity(waveform), resampled)


def _output_samples(
    waveform: tf.Tensor, rate_in: tf.Tensor | int, rate_out: int
) -> tf.Tensor:
    return (tf.size(waveform, tf.int64) * rate_out + (rate_in - 1)) // rate_in


def _plan(rate_in: tf.Tensor, rate_out: np.int64) -> _Plan:
    common, _ = tf.while_loop(
        lambda _, rest: rest > 0,
        lambda value, rest: (rest, value % rest),
        (rate_in, tf.constant(rate_out)),
    )
    repeats = -(-resampling.MIN_BLOCK * common // tf.minimum(rate_in, rate_out))
    down, up = repeats * rate_in // common, repeats * rate_out // common
    scale = tf.minimum(
        tf.constant(1.0, tf.float64),
        tf.cast(up, tf.float64) / tf.cast(down, tf.float64),
    )
    half = tf.cast(tf.math.ceil(resampling.ZERO_CROSSINGS / scale), tf.int64)
    width = down + 2 * half
    return _Plan(down, up, scale, half, width, -(-width // down))


def _weights(inputs: tf.Tensor, outputs: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """`resampling.compute_weights`: float64 positions to float32 weights."""
    steps = scale * resampling.STEPS
    position = tf.abs(inputs[:, tf.newaxis] * steps - outputs * steps)
    position = tf.minimum(position, resampling.ZERO_CROSSINGS * resampling.STEPS)
    index = tf.cast(position, tf.int32)
    share = tf.cast(position - tf.cast(index, tf.float64), tf.float32)
    table = resampling.make_filter_table() * tf.cast(scale, tf.float32)
    slopes = table[1:] - table[:-1]
    return tf.gather(table, index) + share * tf.gather(slopes, index)


def _rows(
    waveform: tf.Tensor, rates: _Plan | resampling.Plan
) -> tuple[tf.Tensor, tf.Tensor]:
    """The waveform in rows of `down`, after `half` zeros, and how many blocks it makes.

    A block's window is its own row and some that follow, so no window is copied out.
    """
    samples = tf.size(waveform, tf.int64)
    blocks = samples // rates.down + 1
    after = (blocks + rates.spans - 1) * rates.down - rates.half - samples
    padded = tf.pad(waveform, [[rates.half, after]])
    return tf.reshape(padded, tf.stack([-1, rates.down])), blocks


def _multiply_blocks(
    waveform: tf.Tensor, rates: _Plan | resampling.Plan, kernel: tf.Tensor
) -> tf.Tensor:
    """Whole blocks in one convolution over rows, by a kernel `[spans * down, up]`."""
    rows, _ = _rows(waveform, rates)
    kernel = tf.reshape(kernel, tf.stack([1, rates.spans, rates.down, rates.up]))
    output = tf.nn.conv2d(rows[tf.newaxis, tf.newaxis], kernel, 1, "VALID")
    return tf.reshape(output, [-1])


def _in_groups(waveform: tf.Tensor, rates: resampling.Plan) -> tf.Tensor:
    """Whole blocks in a few products for each group of phases."""
    rows, blocks = _rows(waveform, rates)
    groups = []
    for inputs, _, kernel in resampling.make_products(rates):
        parts = []
        for span in range(inputs.start // rates.down, rates.spans):
            first = span * rates.down
            start = max(inputs.start - first, 0)
            stop = min(inputs.stop - first, rates.down)
            if start < stop:
                part = kernel[first + start - inputs.start :][: stop - start]
                size = tf.stack([blocks, stop - start])
                own = tf.slice(rows, np.array([span, start]), size)
                parts.append(tf.linalg.matmul(own, part))
        groups.append(tf.add_n(parts))
    return tf.reshape(tf.concat(groups, axis=1), [-1])


def _positions(rates: _Plan, outputs: tf.Tensor) -> tf.Tensor:
    """Where the first outputs lie, in input samples: float64 `[outputs]`."""
    inputs = tf.cast(tf.range(outputs) * rates.down, tf.float64)
    return inputs / tf.cast(rates.up, tf.float64)


def _kernel(rates: _Plan) -> tf.Tensor:
    """All phases of one block: float32 `[spans * down, up]`."""
    inputs = tf.cast(tf.range(rates.width) - rates.half, tf.float64)
    kernel = _weights(inputs, _positions(rates, rates.up), rates.scale)
    return tf.pad(kernel, [[0, rates.spans * rates.down - rates.width], [0, 0]])


def _drift(rates: _Plan) -> resampling.Interpolation:
    """`resampling.make_interpolation`, with tensors."""
    block = resampling.MAX_KERNEL_VALUES // (4 * resampling.NODES * rates.half)
    block = tf.clip_by_value(block, 1, resampling.MAX_AWKWARD_BLOCK)
    width = (block - 1) * rates.down // rates.up + 2 * rates.half + 2
    inputs = tf.cast(tf.range(width) - rates.half, tf.float64)
    outputs = _positions(rates, block)
    kernels = tf.map_fn(
        lambda node: _weights(inputs, outputs + node, rates.scale),
        tf.constant(resampling.make_chebyshev_nodes()),
        fn_output_signature=tf.TensorSpec([None, None], tf.float32),
        parallel_iterations=1,
    )
    kernels = tf.transpose(kernels, [1, 0, 2])
    return resampling.Interpolation(
        block, width, tf.reshape(kernels, tf.stack([width, -1]))
    )


def _interpolate_blocks(
    waveform: tf.Tensor,
    rates: _Plan | resampling.Plan,
    drift: resampling.Interpolation,
    length: tf.Tensor,
) -> tf.Tensor:
    """Blocks that begin between two input samples, for awkward rates."""
    block, width = tf.cast(drift.block, tf.int64), tf.cast(drift.width, tf.int64)
    up = tf.cast(rates.up, tf.int64)
    blocks = tf.maximum(-(-length // block), 1)
    most = resampling.MAX_WORKING_VALUES // tf.maximum(width, resampling.NODES * block)
    batches = -(-blocks // tf.maximum(most, 1))
    batch = -(-blocks // batches)
    padded = tf.pad(waveform, [[tf.cast(rates.half, tf.int64), width]])
    from_cosines = tf.constant(resampling.make_cosine_matrix())

    def outputs(first: tf.Tensor) -> tf.Tensor:
        own = tf.minimum(first + tf.range(batch), blocks - 1)
        position = own * block * rates.down
        phase = tf.cast(position % up, tf.float64) / tf.cast(up, tf.float64)
        order = tf.range(resampling.NODES, dtype=tf.float64)
        cosines = tf.cos(tf.acos(1 - 2 * phase)[:, tf.newaxis] * order)
        shares = tf.cast(tf.linalg.matmul(cosines, from_cosines), tf.float32)
        start = tf.minimum(position // up, tf.size(waveform, tf.int64))
        windows = tf.gather(padded, start[:, tf.newaxis] + tf.range(width))
        parts = tf.linalg.matmul(windows, drift.kernels)
        parts = tf.reshape(parts, tf.stack([batch, resampling.NODES, block]))
        return tf.linalg.matmul(shares[:, tf.newaxis], parts)[:, 0]

    rows = tf.map_fn(
        outputs,
        tf.range(batches) * batch,
        fn_output_signature=tf.TensorSpec([None, None], tf.float32),
        parallel_iterations=1,
    )
    return tf.reshape(rows, [-1])
