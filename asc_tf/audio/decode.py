"""Encoded clip to a waveform at the configured rate, in the graph.

Each file has a decoder, its route, chosen by `asc_tf.audio.inspect` when the manifest
is made: our own WAV parser, or one of tensorflow-io's, which are used only on files
that libsndfile has read completely (malformed bytes hang them or end the process). What
neither decodes comes from the files of `asc_tf.audio.cache`, route `kept`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from asc_tf.audio import cache_format, wav
from asc_tf.audio.inspect import ROUTES
from asc_tf.audio.resample import resample
from asc_tf.audio.tensorflow_io import load_tensorflow_io
from asc_tf.config import Audio
from asc_tf.dsp import channels
from asc_tf.dsp.streaming import BAD_SAMPLES, MAX_PEAK

CACHED = "kept"
"""The route of what is in the cache."""

GRAPH_ROUTES = ("wav", *ROUTES.values())
"""Routes of decoding in the graph, values of the manifest's column `route`."""


class Variants(NamedTuple):
    """What can occur in a graph; only this becomes part of it.

    So a graph of WAV files alone holds core operations alone, and the kernels of the
    rates are constants; the most frequent rate comes first. A single rate is the rate.
    """

    routes: tuple[str, ...] = GRAPH_ROUTES
    views: tuple[str, ...] = ("mono",)
    rates: tuple[int, ...] = ()


def decode_clip(
    contents: tf.Tensor,
    route: tf.Tensor,
    sample_rate: tf.Tensor,
    span: tf.Tensor,
    view: tf.Tensor,
    audio: Audio,
    known: Variants,
) -> tf.Tensor:
    """Decode one clip: bytes to a waveform at `audio.sample_rate`.

    Args:
        contents: The bytes of the file, string `[]`.
        route: One of `known.routes`, string `[]`.
        sample_rate: The file's rate, Hz, int64 `[]`; `known.rates` are the fast ones.
        span: Start and duration of the clip in its file, seconds, float64 `[2]`; a
            duration of 0 reaches to the end of the file.
        view: One of `known.views`, string `[]`.
        audio: The audio settings.
        known: What can occur.

    Returns:
        float32 `[samples]`, or `[samples, 2]` where the views have two channels.
    """

    def from_cache() -> tf.Tensor:
        return cache_format.decode(
            contents, audio.cache_dtype, channels.count_channels(audio.channels)
        )

    def fresh() -> tf.Tensor:
        routes = [name for name in known.routes if name != CACHED]
        waveform = decode_channels(contents, route, sample_rate, span, audio, routes)
        branches = {
            name: functools.partial(select_view, waveform, name) for name in known.views
        }
        only_rate = known.rates[0] if len(known.rates) == 1 else sample_rate
        return resample_all(
            _switch(view, branches), only_rate, audio.sample_rate, known.rates
        )

    if CACHED not in known.routes:
        return fresh()
    if set(known.routes) == {CACHED}:
        return from_cache()
    return tf.cond(route == CACHED, from_cache, fresh)


def decode_channels(
    contents: tf.Tensor,
    route: tf.Tensor,
    sample_rate: tf.Tensor,
    span: tf.Tensor,
    audio: Audio,
    routes: Sequence[str],
) -> tf.Tensor:
    """Decode one clip as it is in its file: float32 `[samples, channels]`."""
    times = span * tf.cast(sample_rate, tf.float64)
    return _switch(
        route, {name: _branch(name, contents, times, audio) for name in routes}
    )


def decode_wav(
    contents: tf.Tensor, audio: Audio, name: tf.Tensor | str = "the file"
) -> tf.Tensor:
    """Decode the bytes of one WAV file that comes from outside.

    Args:
        contents: The bytes of the file, string `[]`.
        audio: The audio settings.
        name: Name of the file in the error, string `[]`.

    Returns:
        float32 `[views, samples]` at `audio.sample_rate`, or `[1, samples, 2]` where
        the model hears two channels.

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs, with what is wrong.
    """
    header = wav.parse_header(contents, audio.max_seconds)
    reason = tf.strings.join([name, ": ", header.problem])
    check = tf.debugging.Assert(header.problem == "", [reason])
    with tf.control_dependencies([check]):
        waveform = wav.decode(contents, header)
    reason = tf.strings.join([name, f": {BAD_SAMPLES}"])
    check = tf.debugging.Assert(has_valid_samples(waveform), [reason])
    with tf.control_dependencies([check]):
        views = [
            resample_all(
                select_view(waveform, name), header.sample_rate, audio.sample_rate
            )
            for name in channels.list_views(audio.channels, 2)
        ]
    heard = tf.stack(views)
    # A mono file is one example: of those of a split one, the last is the mean.
    return heard[tf.where(header.channels > 1, 0, len(views) - 1) :]


def has_valid_samples(
    waveforms: tf.Tensor, axes: Sequence[int] | None = None
) -> tf.Tensor:
    """Whether samples are finite and not far beyond full scale.

    Args:
        waveforms: float32 of any shape.
        axes: Axes that are answered for together; None: all.

    Returns:
        bool, of the shape of the other axes.
    """
    # The comparison is false for NaN too.
    return tf.reduce_all(tf.abs(waveforms) <= MAX_PEAK, axis=axes)


def select_view(waveform: tf.Tensor, name: str) -> tf.Tensor:
    """`asc_tf.dsp.channels.select_view` in the graph.

    Args:
        waveform: float32 `[samples, channels]`.
        name: The view.

    Returns:
        float32 `[samples]` or `[samples, 2]`.
    """
    if name == "mono":
        # Twice as fast as along the short axis.
        return tf.reduce_mean(tf.transpose(waveform), axis=0)
    left = waveform[:, 0]
    right = waveform[:, tf.minimum(tf.shape(waveform)[1] - 1, 1)]
    if name == "left":
        return left
    if name == "right":
        return right
    if name == "stereo":
        return tf.stack([left, right], axis=1)
    return tf.stack([(left + right) / 2, (left - right) / 2], axis=1)


def resample_all(
    waveform: tf.Tensor,
    rate_in: tf.Tensor | int,
    rate_out: int,
    known_rates: Sequence[int] = (),
) -> tf.Tensor:
    """Resample `[samples]` or `[samples, 2]`, each channel by itself."""
    if waveform.shape.rank == 1:
        return resample(waveform, rate_in, rate_out, known_rates)
    columns = [
        resample(column, rate_in, rate_out, known_rates)
        for column in tf.unstack(waveform, axis=1)
    ]
    return tf.stack(columns, axis=1)


def _switch(
    name: tf.Tensor, branches: Mapping[str, Callable[[], tf.Tensor]]
) -> tf.Tensor:
    """What the branch of a name gives; the only branch needs no name."""
    functions = list(branches.values())
    if len(functions) == 1:
        return functions[0]()
    index = tf.argmax(tf.equal(name, list(branches)), output_type=tf.int32)
    return tf.switch_case(index, functions)


def _branch(
    route: str, contents: tf.Tensor, times: tf.Tensor, audio: Audio
) -> Callable[[], tf.Tensor]:
    """The decoder of one route, giving the clip as float32 `[samples, channels]`."""
    if route == "wav":
        return lambda: _wav_clip(contents, times, audio)
    tfio = load_tensorflow_io()

    def flac(dtype: tf.DType, zero: float, scale: float) -> tf.Tensor:
        samples = tfio.audio.decode_flac(contents, dtype=dtype)
        return (tf.cast(samples, tf.float32) - zero) / scale

    decoders = {
        "vorbis": lambda: tfio.audio.decode_vorbis(contents),
        "mp3": lambda: tfio.audio.decode_mp3(contents),
        "flac8": lambda: flac(tf.uint8, 128.0, 128.0),
        "flac16": lambda: flac(tf.int16, 0.0, 2.0**15),
        "flac24": lambda: flac(tf.int32, 0.0, 2.0**31),
    }

    def clip() -> tf.Tensor:
        channels = decoders[route]()
        start, end = _bounds(times, tf.shape(channels, tf.int64)[0])
        return channels[start:end]

    return clip


def _wav_clip(contents: tf.Tensor, times: tf.Tensor, audio: Audio) -> tf.Tensor:
    """Only the bytes of the clip are decoded, however long its file is."""
    header = wav.parse_header(contents, audio.max_seconds)
    start, end = _bounds(times, header.samples)
    skipped = start * header.channels * header.sample_bytes
    clip = header._replace(
        data_start=header.data_start + skipped, samples=tf.maximum(end - start, 0)
    )
    return wav.decode(contents, clip)


def _bounds(times: tf.Tensor, samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First sample of a clip, and the one behind its last, from start and duration."""
    # Bounded before the cast: what int64 cannot hold has no defined value.
    bounded = tf.minimum(tf.round(times), tf.cast(samples, tf.float64))
    start, length = tf.unstack(tf.cast(bounded, tf.int64))
    return start, tf.where(times[1] > 0, tf.minimum(start + length, samples), samples)
