"""File format of a decoded clip: 32 bytes of header, then the samples.

    8 bytes   name and version of the format
    4         channels, uint32
    4         type of the samples, uint32: its index in `DTYPES`
    8         samples per channel, int64
    8         scale, float64: sample value that is stored as 1, or as 32767 in int16

Everything is little-endian. int16 and float16 are scaled to the clip's peak, so that a
float file beyond full scale is not clipped and a quiet one does not lose detail.
"""

import struct
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

MAGIC = b"asc_tf\0\2"
DTYPES = ("int16", "float16", "float32")
FULL_SCALE = {"int16": 32767.0, "float16": 1.0, "float32": 1.0}
HEADER = struct.Struct("<8sIIqd")
BLOCK = 2**18
"""Samples encoded at a time."""


def encode(waveform: np.ndarray, dtype: str) -> Iterator[bytes]:
    """Encode a waveform in blocks, without a copy of the whole.

    Args:
        waveform: float32 `[samples]` or `[samples, channels]`.
        dtype: One of `DTYPES`.

    Yields:
        Bytes of the file, in order.
    """
    # float16 ends at 65504 and loses detail below 6e-5.
    peak = max(waveform.max(initial=0.0), -waveform.min(initial=0.0))
    scale = np.float32(1.0 if dtype == "float32" else peak or 1.0)
    width = waveform.shape[1] if waveform.ndim == 2 else 1
    yield HEADER.pack(MAGIC, width, DTYPES.index(dtype), len(waveform), scale)
    for first in range(0, len(waveform), BLOCK):
        # Not times `FULL_SCALE / scale`, which overflows for the smallest floats.
        values = waveform[first : first + BLOCK] / scale * np.float32(FULL_SCALE[dtype])
        stored = np.rint(values) if dtype == "int16" else values
        yield stored.astype(np.dtype(dtype).newbyteorder("<")).tobytes()


def is_complete(head: bytes, size: int, dtype: str) -> bool:
    """Check whether a file has the type and the size that its header says.

    Args:
        head: First bytes of the file.
        size: Size of the file in bytes.
        dtype: Expected type of the samples, one of `DTYPES`.
    """
    if len(head) < HEADER.size:
        return False
    magic, width, kind, samples, _ = HEADER.unpack(head[: HEADER.size])
    expected = HEADER.size + width * samples * np.dtype(dtype).itemsize
    return magic == MAGIC and kind == DTYPES.index(dtype) and size == expected


def decode(contents: tf.Tensor, dtype: str, channels: int) -> tf.Tensor:
    """Decode a file in the graph.

    Args:
        contents: Bytes of the file, string `[]`.
        dtype: Type with which it was encoded.
        channels: Number of channels, 1 or 2.

    Returns:
        float32 `[samples]`, or `[samples, 2]` where there are two channels.
    """
    scale = tf.io.decode_raw(tf.strings.substr(contents, 24, 8), tf.float64)[0]
    payload = tf.strings.substr(contents, HEADER.size, tf.strings.length(contents))
    stored = tf.io.decode_raw(payload, tf.as_dtype(dtype))
    share = tf.cast(stored, tf.float32) / FULL_SCALE[dtype]
    waveform = share * tf.cast(scale, tf.float32)
    return tf.reshape(waveform, [-1, channels] if channels > 1 else [-1])
