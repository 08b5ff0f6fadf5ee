"""Resampling in the graph, for rates known when it is built or only when it runs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from asc_tf.dsp import resampling

MAX_CONSTANT_VALUES = 2**22
"""Most kernel values of known rates that one graph holds (16 MB)."""


class _Plan(NamedTuple):
    """Tensors of `resampling.Plan`: int64 scalars, `scale` float64."""

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
        rate_in: Sample rate of the waveform in Hz, integer `[]`, at least 1.
        rate_out: Sample rate of the result in Hz.
        known_rates: Likely values of `rate_in` in Hz, the likeliest first; their
            kernels become constants of the graph. Any other rate works too: its kernel
            is computed each time. A `rate_in` that is an `int` is known.

    Returns:
        float32 `[ceil(samples * rate_out / rate_in)]`.
    """
    static = tf.get_static_value(rate_in)
    if static is not None:
        return _resample_known(waveform, int(static), rate_out)
    rate_in = tf.cast(rate_in, tf.int64)
    rates = choose_constant_rates(known_rates, rate_out)
    branches: list[Callable[[], tf.Tensor]] = [
        partial(_resample_known, waveform, rate, rate_out) for rate in rates
    ]
    branches.append(partial(_resample_any, waveform, rate_in, rate_out))
    matches = tf.concat([tf.equal(rate_in, np.array(rates, np.int64)), [True]], axis=0)
    return tf.switch_case(tf.argmax(matches, output_type=tf.int32), branches)


def choose_constant_rates(known_rates: Sequence[int], rate_out: int) -> list[int]:
    """Choose the rates whose kernels become constants of the graph.

    Args:
        known_rates: Rates in Hz, the likeliest first.
        rate_out: Sample rate of the result in Hz.

    Returns:
        Rates whose kernels together fit `MAX_CONSTANT_VALUES`, each once.
    """
    chosen, left = [], MAX_CONSTANT_VALUES
    for rate in dict.fromkeys(known_rates):
        size = 0 if rate == rate_out else _count_kernel_values(rate, rate_out)
        if size <= left:
            chosen.append(rate)
            left -= size
    return chosen


def _count_kernel_values(rate_in: int, rate_out: int) -> int:
    rates = resampling.plan(rate_in, rate_out)
    if rates.is_awkward:
        return resampling.make_interpolation(rates).kernels.size
    return sum(product.kernel.size for product in resampling.make_products(rates))


def _resample_known(waveform: tf.Tensor, rate_in: int, rate_out: int) -> tf.Tensor:
    """Resample from a rate that is known when the graph is built."""
    if rate_in == rate_out:
        return tf.identity(waveform)
    rates = resampling.plan(rate_in, rate_out)
    length = _count_output_samples(waveform, rate_in, rate_out)
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
        output = _multiply_groups(waveform, rates)
    return output[:length]


def _resample_any(waveform: tf.Tensor, rate_in: tf.Tensor, rate_out: int) -> tf.Tensor:
    """Resample from a rate that is known only when the graph runs."""

    def resample_anew() -> tf.Tensor:
        rates = _plan_block(rate_in, np.int64(rate_out))
        length = _count_output_samples(waveform, rate_in, rate_out)
        output = tf.cond(
            rates.width * rates.up > resampling.MAX_KERNEL_VALUES,
            lambda: _interpolate_blocks(
                waveform, rates, _make_interpolation(rates), length
            ),
            lambda: _multiply_blocks(waveform, rates, _make_kernel(rates)),
        )
        return output[:length]

    return tf.cond(rate_in == rate_out, lambda: tf.identity(waveform), resample_anew)


def _count_output_samples(
    waveform: tf.Tensor, rate_in: tf.Tensor | int, rate_out: int
) -> tf.Tensor:
    return (tf.size(waveform, tf.int64) * rate_out + (rate_in - 1)) // rate_in


def _plan_block(rate_in: tf.Tensor, rate_out: np.int64) -> _Plan:
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


def _compute_weights(
    inputs: tf.Tensor, outputs: tf.Tensor, scale: tf.Tensor
) -> tf.Tensor:
    """Compute `resampling.compute_weights` in the graph."""
    steps = scale * resampling.STEPS
    position = tf.abs(inputs[:, tf.newaxis] * steps - outputs * steps)
    position = tf.minimum(position, resampling.ZERO_CROSSINGS * resampling.STEPS)
    index = tf.cast(position, tf.int32)
    share = tf.cast(position - tf.cast(index, tf.float64), tf.float32)
    table = resampling.make_filter_table() * tf.cast(scale, tf.float32)
    slopes = table[1:] - table[:-1]
    return tf.gather(table, index) + share * tf.gather(slopes, index)


def _cut_rows(
    waveform: tf.Tensor, rates: _Plan | resampling.Plan
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pad the waveform with `half` zeros, cut it into rows of `down`, count its blocks.

    A block's window is its own row and some that follow, so that no window is copied.
    """
    samples = tf.size(waveform, tf.int64)
    blocks = samples // rates.down + 1
    after = (blocks + rates.spans - 1) * rates.down - rates.half - samples
    padded = tf.pad(waveform, [[rates.half, after]])
    return tf.reshape(padded, tf.stack([-1, rates.down])), blocks


def _multiply_blocks(
    waveform: tf.Tensor, rates: _Plan | resampling.Plan, kernel: tf.Tensor
) -> tf.Tensor:
    """Compute all blocks in one convolution over rows; kernel `[spans * down, up]`."""
    rows, _ = _cut_rows(waveform, rates)
    kernel = tf.reshape(kernel, tf.stack([1, rates.spans, rates.down, rates.up]))
    output = tf.nn.conv2d(rows[tf.newaxis, tf.newaxis], kernel, 1, "VALID")
    return tf.reshape(output, [-1])


def _multiply_groups(waveform: tf.Tensor, rates: resampling.Plan) -> tf.Tensor:
    """Compute all blocks in a few products for each group of phases."""
    rows, blocks = _cut_rows(waveform, rates)
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


def _compute_positions(rates: _Plan, outputs: tf.Tensor) -> tf.Tensor:
    """Compute the positions of the first outputs in input samples: `[outputs]`."""
    inputs = tf.cast(tf.range(outputs) * rates.down, tf.float64)
    return inputs / tf.cast(rates.up, tf.float64)


def _make_kernel(rates: _Plan) -> tf.Tensor:
    """Compute the kernel of one block: float32 `[spans * down, up]`."""
    inputs = tf.cast(tf.range(rates.width) - rates.half, tf.float64)
    kernel = _compute_weights(inputs, _compute_positions(rates, rates.up), rates.scale)
    return tf.pad(kernel, [[0, rates.spans * rates.down - rates.width], [0, 0]])


def _make_interpolation(rates: _Plan) -> resampling.Interpolation:
    """Compute `resampling.make_interpolation` in the graph."""
    block = resampling.MAX_KERNEL_VALUES // (4 * resampling.NODES * rates.half)
    block = tf.clip_by_value(block, 1, resampling.MAX_AWKWARD_BLOCK)
    width = (block - 1) * rates.down // rates.up + 2 * rates.half + 2
    inputs = tf.cast(tf.range(width) - rates.half, tf.float64)
    outputs = _compute_positions(rates, block)
    kernels = tf.map_fn(
        lambda node: _compute_weights(inputs, outputs + node, rates.scale),
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
    interpolation: resampling.Interpolation,
    length: tf.Tensor,
) -> tf.Tensor:
    """Compute blocks that begin between two input samples, for awkward rates."""
    block = tf.cast(interpolation.block, tf.int64)
    width, up = tf.cast(interpolation.width, tf.int64), tf.cast(rates.up, tf.int64)
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
        parts = tf.linalg.matmul(windows, interpolation.kernels)
        parts = tf.reshape(parts, tf.stack([batch, resampling.NODES, block]))
        return tf.linalg.matmul(shares[:, tf.newaxis], parts)[:, 0]

    rows = tf.map_fn(
        outputs,
        tf.range(batches) * batch,
        fn_output_signature=tf.TensorSpec([None, None], tf.float32),
        parallel_iterations=1,
    )
    return tf.reshape(rows, [-1])
