"""Our own WAV parser on core TensorFlow operations, for bytes that nobody vouches for.

Nothing here raises: a file that is refused yields its reason as a string, so that one
clip cannot end a run and a server can answer for each clip. What a header claims is
never allocated; only bytes that are there are decoded.

Format: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (1991)
and "Multiple Channel Audio Data and WAVE Files" (2001). Where files lie, the reading is
libsndfile's.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from asc_tf.dsp.resampling import RATES
from asc_tf.dsp.wav_format import (
    COMPRESSED,
    EXTENSIBLE,
    FLOAT,
    GUID_TAILS,
    MAX_PARTS,
    PCM,
)

_OUTSIDE_RATES = f"Hz, outside {RATES[0]} to {RATES[1]}"

BLOCK = 2**20
"""Values of a long file that are decoded at a time: 4 MiB of float32."""


class WavHeader(NamedTuple):
    """What the header says, as scalar tensors; `problem` is empty for a good file.

    `samples` are there, per channel; `promised` is what the header claims. `bits` of a
    sample are laid in `sample_bytes`.
    """

    problem: tf.Tensor
    tag: tf.Tensor
    channels: tf.Tensor
    sample_rate: tf.Tensor
    sample_bytes: tf.Tensor
    data_start: tf.Tensor
    samples: tf.Tensor
    promised: tf.Tensor
    bits: tf.Tensor


def parse_header(contents: tf.Tensor, max_seconds: float) -> WavHeader:
    """Read the header of a WAV file.

    Args:
        contents: The bytes of the file, string `[]`.
        max_seconds: A longer file is refused.

    Returns:
        The header; `samples` (per channel) is 0 where `problem` is not empty.
    """
    size = _int64(tf.strings.length(contents, unit="BYTE"))
    parts = _find_parts(contents, size)
    has_fmt = (parts.fmt_size >= 16) & (parts.fmt_start + 16 <= size)
    fmt = tf.cond(
        has_fmt,
        lambda: tf.strings.substr(
            contents, parts.fmt_start, tf.minimum(parts.fmt_size, np.int64(40))
        ),
        lambda: tf.constant(bytes(16)),
    )
    words = tf.unstack(_words(fmt, 0, 16), num=8)
    channels, sample_rate = words[1], words[2] + words[3] * 2**16
    block_align, bits = words[6], words[7]
    tag = _format_tag(fmt, words[0])
    sample_bytes = _container_bytes(bits, block_align, channels)
    samples = parts.data_size // tf.maximum(channels * sample_bytes, 1)
    seconds = tf.cast(samples, tf.float64) / tf.cast(sample_rate, tf.float64)
    problem = _first(
        *_container_problems(contents, size, parts, has_fmt),
        ((tag != PCM) & (tag != FLOAT), lambda: _say_tag(tag)),
        (channels == 0, "0 channels"),
        (
            (sample_rate < RATES[0]) | (sample_rate > RATES[1]),
            lambda: _say("a sample rate of", sample_rate, _OUTSIDE_RATES),
        ),
        (
            ~_is_known_width(tag, sample_bytes),
            lambda: _say("samples of", bits, "bits are not decoded"),
        ),
        (samples == 0, "no samples: the file is empty or cut off"),
        (seconds > max_seconds, f"longer than audio.max_seconds = {max_seconds:g}"),
    )
    samples = tf.where(problem == "", samples, _ZERO)
    return WavHeader(
        problem,
        tag,
        channels,
        sample_rate,
        sample_bytes,
        parts.data_start,
        samples,
        parts.data_claimed // tf.maximum(channels * sample_bytes, 1),
        bits,
    )


def _container_problems(
    contents: tf.Tensor, size: tf.Tensor, parts: "_Parts", has_fmt: tf.Tensor
) -> list[tuple[tf.Tensor, str]]:
    """What can be wrong around the samples, the first first."""
    head = tf.strings.join([tf.strings.substr(contents, 0, 12), bytes(12)])
    start, kind = tf.strings.substr(head, 0, 4), tf.strings.substr(head, 8, 4)
    lacking = (parts.fmt_start == 0) | (parts.data_start == 0)
    return [
        (size < 12, "too short for a WAV file"),
        (start == "RIFX", "RIFX (big-endian WAV) is not decoded"),
        (start == "RF64", "RF64 (64-bit WAV) is not decoded"),
        ((start != "RIFF") | (kind != "WAVE"), "not a RIFF WAVE file"),
        (
            (parts.count >= MAX_PARTS) & lacking,
            f"over {MAX_PARTS} parts before its samples: the file is damaged",
        ),
        (~has_fmt, "no fmt part: the file is damaged or cut off"),
        (parts.data_start == 0, "no data part: the file is damaged or cut off"),
    ]


def _format_tag(fmt: tf.Tensor, tag: tf.Tensor) -> tf.Tensor:
    """The format tag; of an EXTENSIBLE file that of its sub-format."""
    return tf.cond(
        (tag == EXTENSIBLE) & (tf.strings.length(fmt) >= 40),
        lambda: _sub_format(fmt),
        lambda: tag,
    )


def decode(contents: tf.Tensor, header: WavHeader) -> tf.Tensor:
    """Decode the samples of a WAV file.

    Integers are scaled by their range, so that they lie in [-1, 1); floats stay as
    they are.

    Args:
        contents: The bytes of the file, string `[]`.
        header: Its header.

    Returns:
        float32 `[samples, channels]`; no samples where the header has a problem.
    """
    values = header.samples * header.channels
    flat = tf.cond(
        values <= BLOCK,
        lambda: _values(contents, header, _ZERO, values),
        lambda: _in_blocks(contents, header, values),
    )
    return tf.reshape(flat, [-1, tf.cast(tf.maximum(header.channels, 1), tf.int32)])


def _in_blocks(contents: tf.Tensor, header: WavHeader, values: tf.Tensor) -> tf.Tensor:
    """The values of a long file, of which no other whole copy is made."""
    blocks = -(-values // BLOCK)
    parts = tf.TensorArray(
        tf.float32, tf.cast(blocks, tf.int32), infer_shape=False, element_shape=[None]
    )

    def step(block: tf.Tensor, parts: tf.TensorArray) -> tuple:
        first = block * BLOCK
        part = _values(contents, header, first, tf.minimum(values - first, BLOCK))
        return block + 1, parts.write(tf.cast(block, tf.int32), part)

    _, parts = tf.while_loop(
        lambda block, _: block < blocks, step, (_ZERO, parts), parallel_iterations=1
    )
    return parts.concat()


def _values(
    contents: tf.Tensor, header: WavHeader, first: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
    """Some of the values, whatever channel they are of: float32 `[count]`."""
    start = header.data_start + first * header.sample_bytes
    data = tf.strings.substr(
        contents, tf.where(count > 0, start, _ZERO), count * header.sample_bytes
    )
    width = tf.cast(header.sample_bytes, tf.int32)
    return tf.switch_case(
        tf.where(header.tag == FLOAT, width // 4 + 3, width - 1),
        [
            lambda: (_raw(data, tf.uint8) - 128.0) / 128.0,
            lambda: _raw(data, tf.int16) / 2.0**15,
            lambda: _decode_24_bit(data) / 2.0**23,
            lambda: _raw(data, tf.int32) / 2.0**31,
            lambda: _raw(data, tf.float32),
            lambda: _raw(data, tf.float64),
        ],
    )


class _Parts(NamedTuple):
    """Parts looked at; start and size of `fmt ` and `data`, 0 where there is none.

    A size is of what is there; `data_claimed` is what the header says.
    """

    count: tf.Tensor
    fmt_start: tf.Tensor
    fmt_size: tf.Tensor
    data_start: tf.Tensor
    data_size: tf.Tensor
    data_claimed: tf.Tensor


def _find_parts(contents: tf.Tensor, size: tf.Tensor) -> _Parts:
    """Find both parts: at once where a file begins as most do, else by a walk."""
    first = tf.minimum(size, _FIRST)
    head = tf.strings.substr(contents, first, np.int64(32))
    head = tf.strings.join([head, bytes(32)])
    names = tf.strings.substr([head, head], [0, 24], [8, 4])
    claimed = _uint(head, 28, 4)
    is_usual = tf.reduce_all(names == [b"fmt \x10\0\0\0", b"data"])
    return tf.cond(
        is_usual & (claimed > 0) & (claimed <= size - 44),
        lambda: _Parts(_TWO, _FIRST + 8, _FIRST + 4, _FIRST + 32, claimed, claimed),
        lambda: _walk(contents, size),
    )


def _walk(contents: tf.Tensor, size: tf.Tensor) -> _Parts:
    """Walk the parts of a file until both are found."""
    riff_size = tf.cond(
        size >= 8, lambda: _uint(contents, 4, 4), lambda: tf.constant(_ZERO)
    )

    def unfinished(*state: tf.Tensor) -> tf.Tensor:
        position, _, fmt_start, _, data_start, _, _ = state
        return (position + 8 <= size) & ((fmt_start == 0) | (data_start == 0))

    def step(*state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        position, parts, fmt_start, fmt_size, *data = state
        data_start, data_size, data_claimed = data
        name = tf.strings.substr(contents, position, _FOUR)
        claimed, present = _uint(contents, position + 4, 4), size - position - 8
        never_closed = (claimed == 0) & ((riff_size == 0) | (riff_size == 8))
        claimed = tf.where((name == "data") & never_closed, present, claimed)
        here = tf.minimum(claimed, present)
        is_fmt = (name == "fmt ") & (fmt_start == 0)
        is_data = (name == "data") & (data_start == 0)
        return (
            position + 8 + claimed + claimed % 2,
            parts + 1,
            tf.where(is_fmt, position + 8, fmt_start),
            tf.where(is_fmt, here, fmt_size),
            tf.where(is_data, position + 8, data_start),
            tf.where(is_data, here, data_size),
            tf.where(is_data, claimed, data_claimed),
        )

    state = (tf.constant(_FIRST), _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO)
    found = tf.while_loop(
        unfinished, step, state, parallel_iterations=1, maximum_iterations=MAX_PARTS
    )
    return _Parts(*found[1:])


_ZERO, _TWO, _FOUR, _FIRST = np.int64(0), np.int64(2), np.int64(4), np.int64(12)


def _int64(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(value, tf.int64)


def _words(text: tf.Tensor, start: tf.Tensor | int, width: int) -> tf.Tensor:
    """Little-endian unsigned numbers of 2 bytes: int64 `[width / 2]`."""
    part = tf.strings.substr(text, _int64(start), np.int64(width))
    return _int64(tf.io.decode_raw(part, tf.uint16))


def _uint(text: tf.Tensor, start: tf.Tensor | int, width: int) -> tf.Tensor:
    """A little-endian unsigned number of 2 or 4 bytes, as int64 `[]`."""
    values = _words(text, start, width)
    return values[0] if width == 2 else values[0] + values[1] * 2**16


def _sub_format(fmt: tf.Tensor) -> tf.Tensor:
    """The tag in an EXTENSIBLE file's sub-format, if that is of a known family."""
    tail = tf.strings.substr(fmt, 26, 14)
    is_known = tf.reduce_any(tail == tf.constant(GUID_TAILS))
    return tf.where(is_known, _uint(fmt, 24, 2), np.int64(EXTENSIBLE))


def _container_bytes(
    bits: tf.Tensor, block_align: tf.Tensor, channels: tf.Tensor
) -> tf.Tensor:
    """Bytes of a sample: as many as its bits fill, or as an odd depth is laid in."""
    fits = (block_align > 0) & (block_align % tf.maximum(channels, 1) == 0)
    laid_in = block_align // tf.maximum(channels, 1)
    is_odd = (bits % 8 != 0) & fits & (laid_in * 8 >= bits) & (laid_in <= 4)
    return tf.where(is_odd, laid_in, (bits + 7) // 8)


def _is_known_width(tag: tf.Tensor, sample_bytes: tf.Tensor) -> tf.Tensor:
    is_integer = (tag == PCM) & (sample_bytes >= 1) & (sample_bytes <= 4)
    is_float = (tag == FLOAT) & ((sample_bytes == 4) | (sample_bytes == 8))
    return is_integer | is_float


def _raw(data: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.io.decode_raw(data, dtype), tf.float32)


def _decode_24_bit(data: tf.Tensor) -> tf.Tensor:
    """High 16 bits as int16 and low 8 as uint8: no shifting of int32."""
    triples = tf.reshape(tf.io.decode_raw(data, tf.uint8), [-1, 3])
    high = tf.bitcast(triples[:, 1:], tf.int16)
    return tf.cast(high, tf.float32) * 256.0 + tf.cast(triples[:, 0], tf.float32)


def _say_tag(tag: tf.Tensor) -> tf.Tensor:
    names = list(COMPRESSED.values())
    is_this = tag == tf.constant(list(COMPRESSED), tf.int64)
    name = tf.strings.reduce_join(tf.where(is_this, names, [""] * len(names)))
    name = tf.where(name == "", "unknown", name)
    number = tf.strings.as_string(tag)
    return tf.strings.join(["WAVE format ", number, " (", name, ") is not decoded"])


def _say(before: str, number: tf.Tensor, after: str = "") -> tf.Tensor:
    return tf.strings.join(
        [before, tf.strings.as_string(number), *([after] if after else [])],
        separator=" ",
    )


def _first(*findings: tuple[tf.Tensor, str | Callable[[], tf.Tensor]]) -> tf.Tensor:
    """The message of the first finding that holds, else the empty string.

    Messages are put together only where there is something to say.
    """

    def say() -> tf.Tensor:
        message = tf.constant("")
        for holds, text in reversed(findings):
            found = text() if callable(text) else text
            message = tf.where(holds, found, message)
        return message

    is_bad = tf.reduce_any(tf.stack([holds for holds, _ in findings]))
    return tf.cond(is_bad, say, lambda: tf.constant(""))
