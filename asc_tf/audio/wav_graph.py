"""WAV parser in the graph, on core TensorFlow operations, for untrusted files.

Nothing here raises: a file that is refused yields its reason as a string, so that one
clip cannot end a run and a server can answer for each clip. Memory is never allocated
by the sizes in a header; only bytes that exist are decoded.

Format: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (1991)
and "Multiple Channel Audio Data and WAVE Files" (2001). Wrong headers are interpreted
as libsndfile does.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from asc_tf.audio.wav_samples import BLOCK, FORMATS, decode_in_blocks, decode_samples
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


class WavHeader(NamedTuple):
    """Header of a file as scalar tensors; `problem` is empty for a valid file.

    `samples` is the number of samples per channel that exist, `promised` the number
    that the header states. A sample of `bits` bits takes `sample_bytes` bytes.
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
    """Parse the header of a WAV file.

    Args:
        contents: Bytes of the file, string `[]`.
        max_seconds: Longest duration that is accepted, in seconds.

    Returns:
        Header; `samples` is 0 where `problem` is not empty.
    """
    size = _to_int64(tf.strings.length(contents, unit="BYTE"))
    parts = _find_parts(contents, size)
    has_fmt = (parts.fmt_size >= 16) & (parts.fmt_start + 16 <= size)
    fmt = tf.cond(
        has_fmt,
        lambda: tf.strings.substr(
            contents, parts.fmt_start, tf.minimum(parts.fmt_size, np.int64(40))
        ),
        lambda: tf.constant(bytes(16)),
    )
    words = tf.unstack(_read_words(fmt, 0, 16), num=8)
    channels, sample_rate = words[1], words[2] + words[3] * 2**16
    block_align, bits = words[6], words[7]
    tag = _read_format_tag(fmt, words[0])
    sample_bytes = _compute_sample_bytes(bits, block_align, channels)
    samples = parts.data_size // tf.maximum(channels * sample_bytes, 1)
    seconds = tf.cast(samples, tf.float64) / tf.cast(sample_rate, tf.float64)
    problem = _choose_problem(
        *_list_container_problems(contents, size, parts, has_fmt),
        ((tag != PCM) & (tag != FLOAT), lambda: _format_tag(tag)),
        (channels == 0, "0 channels"),
        (
            (sample_rate < RATES[0]) | (sample_rate > RATES[1]),
            lambda: _join("a sample rate of", sample_rate, _OUTSIDE_RATES),
        ),
        (
            ~_is_known_width(tag, sample_bytes),
            lambda: _join("samples of", bits, "bits are not decoded"),
        ),
        (samples == 0, "no samples: the file is empty or cut off"),
        (seconds > max_seconds, f"longer than audio.max_seconds = {max_seconds:g}"),
    )
    samples = tf.where(problem == "", samples, _ZERO)
    promised = parts.data_claimed // tf.maximum(channels * sample_bytes, 1)
    return WavHeader(
        problem=problem,
        tag=tag,
        channels=channels,
        sample_rate=sample_rate,
        sample_bytes=sample_bytes,
        data_start=parts.data_start,
        samples=samples,
        promised=promised,
        bits=bits,
    )


def _list_container_problems(
    contents: tf.Tensor, size: tf.Tensor, parts: "_Parts", has_fmt: tf.Tensor
) -> list[tuple[tf.Tensor, str]]:
    """List the possible problems of the container, the most important first."""
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


def _read_format_tag(fmt: tf.Tensor, tag: tf.Tensor) -> tf.Tensor:
    """Read the format tag; for an EXTENSIBLE file, that of its sub-format."""

    def read_sub_format() -> tf.Tensor:
        tail = tf.strings.substr(fmt, 26, 14)
        is_known = tf.reduce_any(tail == tf.constant(GUID_TAILS))
        return tf.where(is_known, _read_uint(fmt, 24, 2), np.int64(EXTENSIBLE))

    has_sub_format = (tag == EXTENSIBLE) & (tf.strings.length(fmt) >= 40)
    return tf.cond(has_sub_format, read_sub_format, lambda: tag)


def decode(
    contents: tf.Tensor,
    header: WavHeader,
    mix: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """Decode the samples of a WAV file.

    Integers are scaled by their range to [-1, 1); floats do not change.

    Args:
        contents: Bytes of the file, string `[]`.
        header: Header from `parse_header`.
        mix: Function from decoded samples `[n, channels]` to those that are wanted,
            `[n, width]`; a long file is mixed block by block, and its channels are
            never all in memory. None: all channels.

    Returns:
        float32 `[samples, channels]` or `[samples, width]`; no samples where the header
        has a problem.
    """
    frame_bytes = header.sample_bytes * header.channels

    def decode_span(first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        # A file without samples has no place for them either.
        start = tf.where(count > 0, header.data_start + first * frame_bytes, _ZERO)
        data = tf.strings.substr(contents, start, count * frame_bytes)
        width = tf.cast(header.sample_bytes, tf.int32)
        flat = tf.switch_case(
            tf.where(header.tag == FLOAT, width // 4 + 3, width - 1),
            [
                functools.partial(decode_samples, data, tag, sample_bytes)
                for tag, sample_bytes in FORMATS
            ],
        )
        decoded = tf.reshape(flat, [-1, n_channels])
        return mix(decoded) if mix else decoded

    n_channels = tf.cast(tf.maximum(header.channels, 1), tf.int32)
    step = BLOCK // tf.maximum(header.channels, 1)
    decoded = decode_in_blocks(header.samples, step, decode_span)
    return decoded if mix else tf.reshape(decoded, [-1, n_channels])


class _Parts(NamedTuple):
    """Number of parts that were visited; start and size of `fmt ` and `data`, or 0.

    Sizes are in bytes that exist; `data_claimed` is the size that the header states.
    """

    count: tf.Tensor
    fmt_start: tf.Tensor
    fmt_size: tf.Tensor
    data_start: tf.Tensor
    data_size: tf.Tensor
    data_claimed: tf.Tensor


def _find_parts(contents: tf.Tensor, size: tf.Tensor) -> _Parts:
    """Find both parts: at once in a file with the usual start, else by a loop."""
    first = tf.minimum(size, _FIRST)
    head = tf.strings.substr(contents, first, np.int64(32))
    head = tf.strings.join([head, bytes(32)])
    names = tf.strings.substr([head, head], [0, 24], [8, 4])
    claimed = _read_uint(head, 28, 4)
    is_usual = tf.reduce_all(names == [b"fmt \x10\0\0\0", b"data"])
    return tf.cond(
        is_usual & (claimed > 0) & (claimed <= size - 44),
        lambda: _Parts(_TWO, _FIRST + 8, _FIRST + 4, _FIRST + 32, claimed, claimed),
        lambda: _search_parts(contents, size),
    )


def _search_parts(contents: tf.Tensor, size: tf.Tensor) -> _Parts:
    """Visit the parts of a file in order until both are found."""
    riff_size = tf.cond(
        size >= 8, lambda: _read_uint(contents, 4, 4), lambda: tf.constant(_ZERO)
    )

    def unfinished(*state: tf.Tensor) -> tf.Tensor:
        position, _, fmt_start, _, data_start, _, _ = state
        return (position + 8 <= size) & ((fmt_start == 0) | (data_start == 0))

    def step(*state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        position, parts, fmt_start, fmt_size, *data = state
        data_start, data_size, data_claimed = data
        name = tf.strings.substr(contents, position, _FOUR)
        claimed, present = _read_uint(contents, position + 4, 4), size - position - 8
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
    final = tf.while_loop(
        unfinished, step, state, parallel_iterations=1, maximum_iterations=MAX_PARTS
    )
    return _Parts(*final[1:])


_ZERO, _TWO, _FOUR, _FIRST = np.int64(0), np.int64(2), np.int64(4), np.int64(12)


def _to_int64(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(value, tf.int64)


def _read_words(text: tf.Tensor, start: tf.Tensor | int, width: int) -> tf.Tensor:
    """Read little-endian unsigned numbers of 2 bytes: int64 `[width / 2]`."""
    part = tf.strings.substr(text, _to_int64(start), np.int64(width))
    return _to_int64(tf.io.decode_raw(part, tf.uint16))


def _read_uint(text: tf.Tensor, start: tf.Tensor | int, width: int) -> tf.Tensor:
    """Read a little-endian unsigned number of 2 or 4 bytes: int64 `[]`."""
    values = _read_words(text, start, width)
    return values[0] if width == 2 else values[0] + values[1] * 2**16


def _compute_sample_bytes(
    bits: tf.Tensor, block_align: tf.Tensor, channels: tf.Tensor
) -> tf.Tensor:
    """Compute the bytes per sample, for odd depths from the block size if it fits."""
    fits = (block_align > 0) & (block_align % tf.maximum(channels, 1) == 0)
    by_align = block_align // tf.maximum(channels, 1)
    is_odd = (bits % 8 != 0) & fits & (by_align * 8 >= bits) & (by_align <= 4)
    return tf.where(is_odd, by_align, (bits + 7) // 8)


def _is_known_width(tag: tf.Tensor, sample_bytes: tf.Tensor) -> tf.Tensor:
    is_integer = (tag == PCM) & (sample_bytes >= 1) & (sample_bytes <= 4)
    is_float = (tag == FLOAT) & ((sample_bytes == 4) | (sample_bytes == 8))
    return is_integer | is_float


def _format_tag(tag: tf.Tensor) -> tf.Tensor:
    names = list(COMPRESSED.values())
    is_this = tag == tf.constant(list(COMPRESSED), tf.int64)
    name = tf.strings.reduce_join(tf.where(is_this, names, [""] * len(names)))
    name = tf.where(name == "", "unknown", name)
    number = tf.strings.as_string(tag)
    return tf.strings.join(["WAVE format ", number, " (", name, ") is not decoded"])


def _join(before: str, number: tf.Tensor, after: str) -> tf.Tensor:
    return tf.strings.join([before, tf.strings.as_string(number), after], separator=" ")


def _choose_problem(
    *problems: tuple[tf.Tensor, str | Callable[[], tf.Tensor]],
) -> tf.Tensor:
    """Choose the first problem's message; messages are made only if there is one."""

    def choose() -> tf.Tensor:
        message = tf.constant("")
        for holds, text in reversed(problems):
            own = text() if callable(text) else text
            message = tf.where(holds, own, message)
        return message

    is_bad = tf.reduce_any(tf.stack([holds for holds, _ in problems]))
    return tf.cond(is_bad, choose, lambda: tf.constant(""))
