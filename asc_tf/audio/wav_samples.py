"""Samples of WAV files in the graph: bytes to float32, on core operations."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from asc_tf.dsp.wav_format import FLOAT, PCM

BLOCK = 2**20
"""Values of a long file that are decoded in one step: 4 MiB of float32."""

FORMATS = ((PCM, 1), (PCM, 2), (PCM, 3), (PCM, 4), (FLOAT, 4), (FLOAT, 8))
"""Format tags and bytes of the samples that are decoded."""


def decode_in_blocks(
    count: tf.Tensor,
    step: tf.Tensor | int,
    decode_span: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Decode a clip; a long one in blocks, without another copy of the whole.

    Args:
        count: Samples per channel of the clip, int64 `[]`.
        step: Samples per channel of a block.
        decode_span: Function that decodes samples, given the first one and their
            number, to float32 `[samples]` or `[samples, channels]`.
    """
    step = tf.cast(step, tf.int64)

    def decode_all_blocks() -> tf.Tensor:
        blocks = -(-count // step)
        decoded = tf.TensorArray(
            tf.float32, tf.cast(blocks, tf.int32), infer_shape=False
        )

        def decode_block(block: tf.Tensor, decoded: tf.TensorArray) -> tuple:
            first = block * step
            own = decode_span(first, tf.minimum(count - first, step))
            return block + 1, decoded.write(tf.cast(block, tf.int32), own)

        _, decoded = tf.while_loop(
            lambda block, _: block < blocks,
            decode_block,
            (np.int64(0), decoded),
            parallel_iterations=1,
        )
        return decoded.concat()

    return tf.cond(
        count <= step, lambda: decode_span(np.int64(0), count), decode_all_blocks
    )


def decode_samples(data: tf.Tensor, tag: int, sample_bytes: int) -> tf.Tensor:
    """Decode interleaved samples of one format.

    Args:
        data: Bytes of the samples, string `[]`.
        tag: Format tag, PCM or float.
        sample_bytes: Bytes of a sample; see `FORMATS`.

    Returns:
        float32 `[samples * channels]`; integers are scaled to [-1, 1).
    """
    if tag == FLOAT:
        return _decode_raw(data, tf.float32 if sample_bytes == 4 else tf.float64)
    if sample_bytes == 1:
        return (_decode_raw(data, tf.uint8) - 128.0) / 128.0
    if sample_bytes == 3:
        values = tf.reshape(tf.transpose(tf.stack(split_24_bit(data))), [-1])
        return values[: tf.strings.length(data) // 3] / 2.0**31
    full_scale = 2.0 ** (8 * sample_bytes - 1)
    return _decode_raw(data, tf.int16 if sample_bytes == 2 else tf.int32) / full_scale


def split_24_bit(data: tf.Tensor) -> list[tf.Tensor]:
    """Decode samples of 24 bits, four from three words of 32 bits.

    Args:
        data: Bytes of the samples, string `[]`.

    Returns:
        Four float32 `[n]`: samples 0, 4, ..., samples 1, 5, ... and so on, times 2**31;
        the last ones may be 0 because the data is filled up to a multiple of four.
    """
    missing = -tf.strings.length(data) % 12
    data = tf.cond(
        missing == 0,
        lambda: data,
        lambda: tf.strings.join([data, tf.strings.substr(bytes(12), 0, missing)]),
    )
    words = tf.reshape(tf.io.decode_raw(data, tf.int32), [-1, 3])
    # Transposed, because slices along the short axis take twice the time.
    first, second, third = tf.unstack(tf.transpose(words))
    shift_left, shift_right = tf.bitwise.left_shift, tf.bitwise.right_shift
    # Each sample fills the upper 24 bits of a word.
    samples = (
        shift_left(first, 8),
        shift_left(second, 16) | (shift_right(first, 16) & 0xFF00),
        shift_left(third, 24) | (shift_right(second, 8) & 0xFFFF00),
        third & -256,
    )
    return [tf.cast(sample, tf.float32) for sample in samples]


def _decode_raw(data: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(data, dtype), tf.float32)
